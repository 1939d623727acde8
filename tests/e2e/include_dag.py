#!/usr/bin/python3
"""The architecture as facts about #include lines.

Folders include one way: cli -> pipeline -> loader, ipc; stages -> gpu, loader -> ipc; loader and gpu do not know each
other. A library that is not ours is included by two .c files at most, so that replacing it is an afternoon's work. Every
header compiles alone. The tests may include everything and are held to the last fact only.
"""
from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterable

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from reference.tally import Tally  # noqa: E402

# What each folder may include besides itself.
MAY_INCLUDE = {
    "ipc": set(),
    "loader": {"ipc"},
    "gpu": {"ipc"},
    "stages": {"gpu", "loader", "ipc"},
    "pipeline": {"loader", "ipc"},
    "cli": {"pipeline", "loader", "ipc"},
}
# Part of the system, or written for it: no library that one could want to replace.
SYSTEM = re.compile(
    r"(assert|cpuid|ctype|dirent|errno|fcntl|fenv|float|ftw|getopt|glob|immintrin|inttypes|libgen|limits|locale|math|poll|pthread"
    r"|sched|setjmp|signal|spawn|stdalign|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdlib|string|strings|termios"
    r"|threads|time|unistd|wchar|(sys|linux|arpa|netinet|asm)/[a-z0-9_/-]+)\.h"
)
LIBRARY_FILES = 2
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)

Sources = dict[str, str]  # path from the root -> text


def product() -> Sources:
    files = (path for folder in MAY_INCLUDE for path in sorted((ROOT / folder).rglob("*.[ch]")))
    return {str(path.relative_to(ROOT)): path.read_text() for path in files}


def includes(text: str, bracket: str) -> list[str]:
    return [name for found, name in INCLUDE.findall(text) if found == bracket]


def wrong_ways(sources: Sources, folder: str) -> list[str]:
    """Includes of one folder that the DAG forbids, or that are not written as a path from the root."""
    found = []
    for path, text in sources.items():
        if not path.startswith(folder + "/"):
            continue
        for name in includes(text, '"'):
            other = name.partition("/")[0]
            if other not in MAY_INCLUDE:
                found.append(f'{path}: "{name}" is not written as a path from the root into a folder of the product')
            elif other != folder and other not in MAY_INCLUDE[folder]:
                allowed = ", ".join(sorted(MAY_INCLUDE[folder])) or "nothing else"
                found.append(f"{path}: {name}: {folder} may include {allowed}")
    return found


def library_of(header: str) -> str:
    """msgpack/pack.h and msgpack.h are one library."""
    return header.partition("/")[0].removesuffix(".h")


def library_users(sources: Sources) -> dict[str, set[str]]:
    users: dict[str, set[str]] = defaultdict(set)
    for path, text in sources.items():
        for name in includes(text, "<"):
            if not SYSTEM.fullmatch(name):
                users[library_of(name)].add(path)
    return users


def careless_use(library: str, users: Iterable[str]) -> list[str]:
    users = sorted(users)
    found = [f"{path}: a header includes {library}: so does whoever includes it" for path in users if path.endswith(".h")]
    if len(users) > LIBRARY_FILES:
        found.append(f"{len(users)} files include {library}, at most {LIBRARY_FILES} should: {', '.join(users)}")
    return found


def compile_alone(header: str) -> list[str]:
    """The header as a whole program, as strictly as the product is built."""
    flags = ["-std=c11", "-D_GNU_SOURCE", '-DPK_VERSION="0"', f'-DPK_SOURCE_DIR="{ROOT}"', "-Wall", "-Wextra", "-Werror"]
    if "avx2" in header and platform.machine() in ("x86_64", "AMD64"):
        flags += ["-mavx2", "-mfma", "-mf16c"]
    command = [os.environ.get("CC", "gcc"), "-fsyntax-only", *flags, "-I", str(ROOT), "-x", "c", "-"]
    done = subprocess.run(command, input=f'#include "{header}"\n', capture_output=True, text=True)
    return done.stderr.strip().splitlines()[:6] or [f"{command[0]}: exit status {done.returncode}"] if done.returncode else []


def check_rules(tally: Tally) -> None:
    """The rules find what they are for."""
    wrong = {
        "gpu_in_loader": ("loader/a.c", '#include "gpu/ops.h"'),
        "loader_in_gpu": ("gpu/cpu/a.c", '#include "loader/config.h"'),
        "stages_in_pipeline": ("pipeline/a.c", '  #  include "stages/runtime.h"'),
        "cli_in_pipeline": ("pipeline/a.h", '#include "cli/exit.h"'),
        "a_relative_path": ("ipc/a.c", '#include "error.h"'),
    }
    for name, (path, text) in wrong.items():
        seen = wrong_ways({path: text}, path.partition("/")[0])
        tally.record(f"rule_finds_{name}", [] if len(seen) == 1 else [f"{len(seen)} complaints, expected 1"])
    users = library_users({"ipc/a.c": "#include <zmq.h>\n#include <string.h>\n#include <sys/mman.h>", "ipc/b.h": "#include <zmq.h>"})
    tally.record("rule_knows_libraries_from_the_system", [] if set(users) == {"zmq"} else [str(dict(users))])
    seen = careless_use("zmq", [*users["zmq"], "ipc/c.c"])
    tally.record("rule_finds_a_header_and_a_third_file", [] if len(seen) == 2 else seen or ["nothing found"])


def main() -> int:
    tally = Tally()
    check_rules(tally)
    sources = product()
    for folder in MAY_INCLUDE:
        tally.record(f"{folder}_includes_what_it_may", wrong_ways(sources, folder))
    for library, users in sorted(library_users(sources).items()):
        tally.record(f"{library}_is_included_in_few_places", careless_use(library, users), ", ".join(sorted(users)))
    headers = [path for path in sources if path.endswith(".h")]
    headers += [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests").rglob("*.h"))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for header, complaints in zip(headers, pool.map(compile_alone, headers)):
            tally.record(f"{header}_compiles_alone", complaints)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
