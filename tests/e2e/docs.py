#!/usr/bin/python3
"""The documents as facts.

    - every pipeline file in a document is checked by `penstock check` against a model of fitting shape; one that a
      document calls refused is refused, in the words that stand below it;
    - every relative link and every anchor leads somewhere;
    - every test that docs/features.md or ARCHITECTURE.md names is there;
    - every command and option that a document shows has its help;
    - the table of exit codes, the environment variables and the defaults are those of the code.

A yaml block that is a pipeline stands below a comment that says what it is for:

    <!-- pipeline: layers=16 -->            a good one, for a model of 16 layers
    <!-- pipeline: layers=16 refused -->    a bad one; the text block that follows is what `penstock check` says
"""
from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Iterator, Optional

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from reference.tally import Tally  # noqa: E402

TIMEOUT_S = 60
NOT_OURS = ("build", "out", ".git")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARKER = re.compile(r"<!-- pipeline: layers=(\d+)( refused)? -->\n\Z")
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
TEST = re.compile(r"`(tests/[\w./-]+)(?:::([^`]+))?`")
FACT = re.compile(r"`([a-z0-9]+(?:_[a-z0-9]+){2,})`")


@dataclass(frozen=True)
class Block:
    document: str
    line: int
    layers: int
    yaml: str
    refusal: Optional[str]  # what check is to say


def documents() -> dict[str, str]:
    paths = (path.relative_to(ROOT) for path in sorted(ROOT.rglob("*.md")))
    return {str(path): (ROOT / path).read_text() for path in paths if path.parts[0] not in NOT_OURS}


def is_for_users(document: str) -> bool:
    return document in ("README.md", "ARCHITECTURE.md", "HACKING.md") or document.startswith("docs/")


def pipelines(document: str, text: str) -> Iterator[tuple[Optional[Block], str]]:
    """Each yaml block, or None and a complaint."""
    for fence in FENCE.finditer(text):
        if fence[1] not in ("yaml", "yml"):
            continue
        line = text.count("\n", 0, fence.start()) + 1
        marker = MARKER.search(text, 0, fence.start())
        if not marker:
            yield None, f"{document}:{line}: a yaml block without <!-- pipeline: layers=N --> above it"
            continue
        following = FENCE.match(text, fence.end() + 1)
        if marker[2] and not (following and following[1] == "text"):
            yield None, f"{document}:{line}: a refused pipeline without the text of the refusal below it"
            continue
        yield Block(document, line, int(marker[1]), fence[2], following[2] if marker[2] and following else None), ""


class Command:
    def __init__(self, binary: Path, scratch: Path) -> None:
        self.binary, self.scratch = binary, scratch

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_DOC_")}
        return subprocess.run(
            [str(self.binary), *arguments], cwd=self.scratch, env=environment, capture_output=True, text=True,
            timeout=TIMEOUT_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    @lru_cache(maxsize=None)
    def model(self, layers: int) -> Path:
        """A model of so many layers, as small as they come."""
        path = self.scratch / f"model-{layers}"
        done = self.run(
            "model", "synth", str(path), "--layers", str(layers), "--hidden", "16", "--heads", "2", "--head-dim", "8",
            "--kv-heads", "1", "--rotary-dim", "4", "--inner", "8", "--experts", "2", "--vocab", "64",
            "--positions", "10240000",
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"model synth: {done.stderr}")
        return path

    @lru_cache(maxsize=None)
    def help(self, command: str) -> str:
        done = self.run(*command.split(), "--help")
        return done.stdout if done.returncode == 0 else ""


def check_pipeline(command: Command, block: Block) -> list[str]:
    (command.scratch / "pipeline.yaml").write_text(block.yaml)
    done = command.run("check", "pipeline.yaml", "-m", str(command.model(block.layers)))
    if block.refusal is None:
        return [] if done.returncode == 0 else [f"exit {done.returncode}: {done.stderr.strip()}"]
    found = []
    if done.returncode != 2:
        found.append(f"exit {done.returncode}, expected 2")
    if done.stderr != block.refusal:
        found += [f"said     {done.stderr.strip()}", f"expected {block.refusal.strip()}"]
    return found


def anchors(text: str) -> set[str]:
    """Of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"`", "", heading)).strip().lower().replace(" ", "-") for heading in headings}


def broken_links(document: str, text: str) -> list[str]:
    found = []
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (ROOT / document).parent / path if path else ROOT / document
        if not there.exists():
            found.append(f"{target}: there is no {path}")
        elif anchor and anchor not in anchors(there.read_text()):
            found.append(f"{target}: {there.name} has no such heading")
        elif path and not there.resolve().is_relative_to(ROOT):
            found.append(f"{target} leads out of the repository")
    return found


def missing_test(path: str, name: Optional[str]) -> Optional[str]:
    there = ROOT / path
    if not there.exists():
        return f"there is no {path}"
    if not name or (there.is_file() and name in there.read_text()):
        return None
    return f"{path} has no test {name}"


def missing_tests(text: str) -> list[str]:
    return [complaint for path, name in TEST.findall(text) if (complaint := missing_test(path, name))]


def rows_without_test(text: str) -> list[str]:
    """Rows of features.md that say `works` and name nothing that shows it; or say anything else than works, not yet."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if not line.startswith("|") or len(cells) < 2 or cells[1] in ("state", "compiled", "---"):
            continue
        if cells[1] == "works" and not TEST.search(line):
            found.append(f"{cells[0]}: nothing shows it")
        elif cells[1] not in ("works", "not yet |", "not yet") and not cells[0].startswith("`c"):
            found.append(f"{cells[0]}: the state is {cells[1]}, expected works or not yet")
    return found


def unknown_facts(text: str) -> list[str]:
    """Names like `a_torn_tail_is_cut` that stand in a document as tests."""
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.[cp]*") if path.is_file() and path.suffix in (".c", ".py"))
    held = re.findall(r"\*Held by\*.*?(?=\n\n|\Z)", text, re.DOTALL)
    return [f"there is no test {name}" for part in held for name in FACT.findall(part) if name not in tests]


def shown_commands(text: str) -> Iterator[tuple[str, str]]:
    """Command and the rest of the line, wherever `penstock WORD` stands in code."""
    blocks = [fence[2] for fence in FENCE.finditer(text) if fence[1] in ("sh", "")]
    prose = FENCE.sub("", text)
    indented = [line.strip() for line in prose.splitlines() if line.startswith("    ")]
    code = [line for block in blocks for line in block.splitlines()] + indented + re.findall(r"`([^`\n]+)`", prose)
    for line in code:
        for found in re.finditer(r"(?:^|[\s|]|bin/)penstock ((?:model |debug )?[a-z]+)\b(.*)", line.partition(" #")[0]):
            yield found[1], found[2]


def unknown_commands(command: Command, text: str) -> list[str]:
    found = []
    for name, rest in shown_commands(text):
        said = command.help(name)
        if not said:
            found.append(f"penstock {name} --help does not end well")
        for option in re.findall(r"(?:^|\s)(--?[a-z][a-z-]*)", re.sub(r'"[^"]*"', '""', rest)):
            if said and option != "--help" and not re.search(rf"(?:^|[\s,]){re.escape(option)}(?:[\s,]|$)", said, re.MULTILINE):
                found.append(f"penstock {name} has no {option}")
    return found


def exit_codes(text: str) -> list[str]:
    header = (ROOT / "cli" / "exit.h").read_text()
    codes = {int(code): words for code, words in re.findall(r'X\([A-Z]+, (\d+), "([^"]*)"\)', header)}
    block = text.partition("<!-- exit codes: begin -->")[2].partition("<!-- exit codes: end -->")[0]
    told = {int(code): words for code, words in re.findall(r"^\| (\d+) \| (.*) \|$", block, re.MULTILINE)}
    return [f"exit {code}: {told.get(code)!r}, cli/exit.h says {codes.get(code)!r}"
            for code in sorted(codes.keys() | told.keys()) if codes.get(code) != told.get(code)]  # fmt: skip


def untold_variables(text: str) -> list[str]:
    sources = [path for folder in ("cli", "pipeline", "stages", "loader", "gpu", "ipc") for path in (ROOT / folder).rglob("*.c")]
    read = {name for path in sources for name in re.findall(r'getenv\("([A-Z_0-9]+)"\)', path.read_text())}
    told = set(re.findall(r"^\| `([A-Z_0-9]+)` \|", text, re.MULTILINE))
    return [f"{name} is read by the code and not told" for name in sorted(read - told)] + [
        f"{name} is told and not read by the code" for name in sorted(told - read)
    ]


def wrong_defaults(command: Command, text: str) -> list[str]:
    """The table's defaults that are plain numbers, beside those that check --print fills in."""
    printed = command.run("check", "-m", str(command.model(80)), "--print").stdout
    found = []
    for section, key, default in re.findall(r"^\| `(limits|generation)\.(\w+)` \| [^|]* \| (\d+) \|", text, re.MULTILINE):
        value = re.search(rf"^{section}: .*\b{key}: ([\d.]+)", printed, re.MULTILINE)
        if not value or value[1] != default:
            found.append(f"{section}.{key}: {default}, check --print says {value[1] if value else 'nothing'}")
    return found


def check_rules(tally: Tally) -> None:
    """The rules find what they are for."""
    text = "x\n```yaml\nversion: 1\n```\n[a](nowhere.md) [b](README.md#no-such-heading)\n"
    tally.record("rule_finds_an_unmarked_pipeline", [] if [b for b, _ in pipelines("x.md", text)] == [None] else ["not found"])
    tally.record("rule_finds_broken_links", [] if len(broken_links("x.md", text)) == 2 else broken_links("x.md", text))
    named = "`tests/e2e/docs.py::no such" + " test` `tests/nowhere.c`"
    tally.record("rule_finds_missing_tests", [] if len(missing_tests(named)) == 2 else missing_tests(named))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD or build/release)")
    build = (parser.parse_args().build or Path(os.environ.get("PENSTOCK_BUILD") or ROOT / "build" / "release")).resolve()
    tally, texts = Tally(), documents()
    check_rules(tally)
    with tempfile.TemporaryDirectory(prefix="penstock-docs-") as scratch:
        command = Command(build / "bin" / "penstock", Path(scratch))
        for document, text in texts.items():
            tally.record(f"links_of_{document}_lead_somewhere", broken_links(document, text))
            for block, complaint in pipelines(document, text):
                name = f"pipeline_at_{block.document}_{block.line}" if block else f"pipelines_of_{document}"
                tally.record(name, check_pipeline(command, block) if block else [complaint])
            if is_for_users(document):
                tally.record(f"commands_of_{document}_exist", unknown_commands(command, text))
                tally.record(f"tests_named_in_{document}_exist", missing_tests(text) + unknown_facts(text))
        features, operations = texts["docs/features.md"], texts["docs/operations.md"]
        tally.record("every_feature_has_a_state_and_what_works_a_test", rows_without_test(features))
        tally.record("exit_codes_are_those_of_the_code", exit_codes(operations))
        tally.record("environment_variables_are_those_of_the_code", untold_variables(operations))
        tally.record("defaults_are_those_that_check_prints", wrong_defaults(command, texts["docs/pipeline-file.md"]))
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
