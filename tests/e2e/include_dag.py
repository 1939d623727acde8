#!/usr/bin/python3
"""The architecture as facts about #include lines.

Folders include one way: cli -> pipeline -> loader, ipc; stages -> gpu, loader -> ipc; loader and gpu do not know each
other. A library that is not ours is included by two .c files at most, so that replacing it is an afternoon's work. Every
header compiles alone as C, and those that kernels in C++ include as C++ too. No source lies outside these folders, and a
folder's link line in CMake permits no more than its includes may use. The tests may include everything and are held to the
headers' fact only.
"""
from __future__ import annotations

import os
import platform
import re
import shutil
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
SOURCES = (".c", ".h", ".cu", ".cuh")
APART = ("build", "tests", "tools", "examples", "out")  # no part of the product, or not ours
KERNEL_HEADERS = "gpu/*.h"  # what a .cu file includes
TARGET = re.compile(r"^\s*pk_(?:\w*library|stage)\(\s*([\w-]+|\$\{name\})([^)]*)\)", re.MULTILINE)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)

Sources = dict[str, str]  # path from the root -> text


def product() -> Sources:
    files = (path for folder in MAY_INCLUDE for path in sorted((ROOT / folder).rglob("*")) if path.suffix in SOURCES)
    return {str(path.relative_to(ROOT)): path.read_text() for path in files}


def strays(paths: Iterable[str]) -> list[str]:
    """Sources in a folder that the table does not know: nothing would hold them to anything."""
    folders = {path: path.partition("/")[0] for path in paths if path.endswith(SOURCES)}
    known = {*MAY_INCLUDE, *APART}
    return [f"{path}: {folder} is no folder of the table" for path, folder in folders.items() if folder not in known]


def links(lists: Sources) -> dict[str, tuple[str, set[str]]]:
    """Of each library and stage program in these CMakeLists.txt its folder, and what of ours its link line names."""
    found = {}
    for path, text in lists.items():
        for name, rest in TARGET.findall(text):
            line = re.search(r"\bLINK\b(.*?)(?:\bPACKAGES\b|\Z)", rest, re.DOTALL)
            found[path if name == "${name}" else name] = (path.partition("/")[0], set(line[1].split() if line else ()))
    return found


def wrong_links(found: dict[str, tuple[str, set[str]]]) -> list[str]:
    wrong = []
    for name, (folder, linked) in found.items():
        for other in linked & found.keys():
            place = found[other][0]
            if place != folder and place not in MAY_INCLUDE[folder]:
                wrong.append(f"{name} of {folder} links {other} of {place}")
    return wrong


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


def complaints_of(command: list[str], text: str) -> list[str]:
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    return done.stderr.strip().splitlines()[:6] or [f"{command[0]}: exit status {done.returncode}"] if done.returncode else []


def compile_as_cxx(header: str) -> list[str]:
    """As a .cu file includes it; nvcc takes C++17."""
    flags = ["-std=c++17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"]
    command = [os.environ.get("CXX", "g++"), "-fsyntax-only", *flags, "-I", str(ROOT), "-x", "c++", "-"]
    return complaints_of(command, f'extern "C" {{\n#include "{header}"\n}}\n')


def compile_alone(header: str) -> list[str]:
    """The header as a whole program, as strictly as the product is built."""
    flags = ["-std=c11", "-D_GNU_SOURCE", '-DPK_VERSION="0"', f'-DPK_SOURCE_DIR="{ROOT}"', "-Wall", "-Wextra", "-Werror"]
    if "/simd" in header and platform.machine() in ("x86_64", "AMD64"):
        flags += ["-mavx2", "-mfma", "-mf16c"]
    command = [os.environ.get("CC", "gcc"), "-fsyntax-only", *flags, "-I", str(ROOT), "-x", "c", "-"]
    return complaints_of(command, f'#include "{header}"\n')


def check_rules(tally: Tally) -> None:
    """The rules find what they are for."""
    wrong = {
        "gpu_in_loader": ("loader/a.c", '#include "gpu/ops.h"'),
        "loader_in_gpu": ("gpu/cpu/a.c", '#include "loader/config.h"'),
        "stages_in_pipeline": ("pipeline/a.c", '  #  include "stages/runtime.h"'),
        "cli_in_pipeline": ("pipeline/a.h", '#include "cli/exit.h"'),
        "a_relative_path": ("ipc/a.c", '#include "error.h"'),
        "loader_in_a_kernel": ("gpu/cuda/a.cu", '#include "loader/config.h"'),
    }
    for name, (path, text) in wrong.items():
        seen = wrong_ways({path: text}, path.partition("/")[0])
        tally.record(f"rule_finds_{name}", [] if len(seen) == 1 else [f"{len(seen)} complaints, expected 1"])
    users = library_users({"ipc/a.c": "#include <zmq.h>\n#include <string.h>\n#include <sys/mman.h>", "ipc/b.h": "#include <zmq.h>"})
    tally.record("rule_knows_libraries_from_the_system", [] if set(users) == {"zmq"} else [str(dict(users))])
    seen = careless_use("zmq", [*users["zmq"], "ipc/c.c"])
    tally.record("rule_finds_a_header_and_a_third_file", [] if len(seen) == 2 else seen or ["nothing found"])
    seen = strays(["ipc/a.c", "tests/a.c", "driver/a.cu", "b.h", "driver/README.md"])
    tally.record("rule_finds_sources_in_unknown_folders", [] if len(seen) == 2 else seen or ["nothing found"])
    seen = wrong_links(links({"gpu/CMakeLists.txt": "pk_library(pk_gpu SOURCES a.c LINK pk_loader PACKAGES zlib)",
                              "loader/CMakeLists.txt": "pk_library(pk_loader SOURCES b.c)"}))  # fmt: skip
    tally.record("rule_finds_a_link_that_no_include_may_use", [] if len(seen) == 1 else seen or ["nothing found"])


def check_kernel_headers(tally: Tally) -> None:
    for path in sorted(ROOT.glob(KERNEL_HEADERS)):
        name = f"{path.relative_to(ROOT)}_compiles_as_c++"
        if shutil.which(os.environ.get("CXX", "g++")):
            tally.record(name, compile_as_cxx(str(path.relative_to(ROOT))))
        else:
            tally.skip(name, "no compiler of C++ is installed")


def main() -> int:
    tally = Tally()
    check_rules(tally)
    sources = product()
    for folder in MAY_INCLUDE:
        tally.record(f"{folder}_includes_what_it_may", wrong_ways(sources, folder))
    paths = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.suffix in SOURCES)
    tally.record("every_source_lies_in_a_folder_of_the_table", strays(map(str, paths)))
    lists = {str(path.relative_to(ROOT)): path.read_text() for folder in MAY_INCLUDE for path in (ROOT / folder).rglob("CMakeLists.txt")}
    found = links(lists)
    tally.record("link_lines_permit_what_includes_may_use", wrong_links(found), f"{len(found)} targets")
    for library, users in sorted(library_users(sources).items()):
        tally.record(f"{library}_is_included_in_few_places", careless_use(library, users), ", ".join(sorted(users)))
    headers = [path for path in sources if path.endswith(".h")]
    headers += [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests").rglob("*.h"))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for header, complaints in zip(headers, pool.map(compile_alone, headers)):
            tally.record(f"{header}_compiles_alone", complaints)
    check_kernel_headers(tally)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
