#!/usr/bin/python3
"""Documents as nobody wants them: whatever a file holds or is called, it has exactly one record, an answer or a named
failure, and the good ones beside it have the bytes that they have alone. (Those that tests/e2e/run.py shows already are
not repeated.) --many N sets how many files the test of many files makes; the slow suite takes 100,000.
"""
from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import CommandError, build_folder  # noqa: E402
from e2e.runs import Ended, Workplace, facts_of, lines, record_all, records  # noqa: E402
from reference.tally import Tally  # noqa: E402

SHAPE = ("--layers", 4, "--softmax-every", 4, "--hidden", 64, "--heads", 4, "--head-dim", 16, "--kv-heads", 2,
         "--rotary-dim", 8, "--inner", 64, "--experts", 4, "--positions", 4096)  # fmt: skip
SHORT = ("--set", "generation.max_tokens=12")
BOM = b"\xef\xbb\xbf"
GIB = 1 << 30
GOOD = b"It is a truth universally acknowledged."
# What a file holds: the failure that it must have, or None for an answer.
CONTENTS: dict[str, tuple[bytes, str | None]] = {
    "one-byte": (b"a", None),
    "one-nul": (b"\0", None),
    "nuls": (b"a\0b\0\0c" * 50, None),
    "crlf": (b"one\r\ntwo\r\n\r\nthree\r\n", None),
    "only-blanks": (b" \t\r\n\v\f " * 20, None),
    "bom": (BOM + GOOD, None),
    "bom-alone": (BOM, "empty"),
    "bom-inside": (GOOD + BOM + GOOD, None),
    "utf-16": ("Höhle".encode("utf-16"), "invalid_utf8"),
    "control-characters": (bytes(range(1, 128)), None),
    "special-tokens": (b"<end_of_sentence><beginning_of_sentence>system" * 4, None),
    "last-code-point": ("\U0010ffff\ufffe\u200b\u202e".encode(), None),
    "no-line-end": (b"x" * 900 + b" y", None),
    "cut-character": (GOOD + b"\xe2\x82", "invalid_utf8"),
    "overlong": (GOOD + b"\xc0\xaf", "invalid_utf8"),
    "surrogate": (GOOD + b"\xed\xa0\x80", "invalid_utf8"),
    "beyond-unicode": (GOOD + b"\xf4\x90\x80\x80", "invalid_utf8"),
    "one-continuation": (b"\x80", "invalid_utf8"),
    "all-ones": (b"\xff" * 4096, "invalid_utf8"),
}
NAMES = [
    b"line\nend.txt", b'quote".txt', b"back\\slash.txt", b"sharp#1.txt", b"two__under.txt", b"latin-\xe9.txt", b"\x1b[2J.txt",
    b"n" * 250 + b".txt", "ünï😀.txt".encode(), b"-dash.txt", b" blank .txt", b"${HOME}.txt", b"%s%n.txt", b"UPPER.TXT",
    b"dot..txt", b"trailing.txt.md",
]  # fmt: skip


class Inputs:
    def __init__(self, build: Path, many: int) -> None:
        self._place = Workplace(build, SHAPE, endless=True)
        self._many = many
        (self._place.folder / "good.txt").write_bytes(GOOD)
        ended = self._run("alone", "good.txt")
        if complaints := ended.expect(0):
            raise CommandError("\n".join(complaints))
        self._good = lines(self._place.folder / "alone" / "results.jsonl")

    def _run(self, out: str, *inputs: object, options: tuple = ()) -> Ended:
        return self._place.run(inputs, out, *SHORT, *options)

    def _folder(self, name: str) -> Path:
        folder = self._place.folder / name
        folder.mkdir(parents=True)
        return folder

    def _codes(self, out: str) -> dict[str, str | None]:
        """Of each request the code of its failure, None for an answer; two records of one are a fault of the run."""
        found: dict[str, str | None] = {}
        for name in ("results.jsonl", "errors.jsonl"):
            for record in records(self._place.folder / out / name):
                if record["custom_id"] in found:
                    raise CommandError(f"{record['custom_id']} has two records")
                found[record["custom_id"]] = record["error"]["code"] if record["error"] else None
        return found

    def _outcomes(self, out: str, ended: Ended, expected: dict[str, str | None]) -> list[str]:
        codes = self._codes(out)
        found = ended.expect(3 if any(expected.values()) else 0)
        found += [f"{name}: {codes.get(name, 'no record')}, expected {code}" for name, code in expected.items()
                  if codes.get(name, "no record") != code]  # fmt: skip
        found += [f"{name}: not expected" for name in codes.keys() - expected.keys()]
        good = self._good[0] in lines(self._place.folder / out / "results.jsonl")
        return found + ([] if good or "good.txt#1" not in expected else ["the good document has another answer"]) + self._place.left()

    def whatever_a_file_holds_it_has_one_outcome(self) -> list[str]:
        folder = self._folder("contents")
        for name, (content, _) in CONTENTS.items():
            (folder / f"{name}.txt").write_bytes(content)
        expected = {f"contents/{name}.txt#1": code for name, (_, code) in CONTENTS.items()} | {"good.txt#1": None}
        return self._outcomes("contents-out", self._run("contents-out", "contents", "good.txt"), expected)

    def a_byte_order_mark_does_not_change_the_answer(self) -> list[str]:
        contents = {record["custom_id"]: record["response"]["body"]["choices"] for record in records(
            self._place.folder / "contents-out" / "results.jsonl")}  # fmt: skip
        same = contents.get("contents/bom.txt#1") == contents.get("good.txt#1") is not None
        return [] if same else ["the answers differ"]

    def whatever_a_file_is_called_it_has_one_outcome_and_a_file_of_its_own(self) -> list[str]:
        folder = self._folder("names")
        for name in NAMES:
            (Path(os.fsdecode(bytes(folder) + b"/" + name))).write_bytes(GOOD)
        ended = self._run("names-out", "names", "good.txt")
        out = self._place.folder / "names-out"
        codes = self._codes("names-out")
        readable = list(out.glob("*.md"))
        found = ended.expect(0)
        if len(codes) != len(NAMES) + 1 or any(codes.values()) or len(readable) != len(NAMES) + 1:
            found.append(f"{len(codes)} records, {len(readable)} readable files, expected {len(NAMES) + 1}: {codes}")
        return found + ([] if "\x1b" not in ended.err else ["the terminal was spoken to"]) + self._place.left()

    def equal_names_in_different_folders_are_different_requests(self) -> list[str]:
        for name in ("left", "right", "left__right"):
            (self._folder(name) / "x.txt").write_bytes(GOOD)
        (self._folder("left/right") / "x.txt").write_bytes(GOOD)
        os.link(self._place.folder / "left/x.txt", self._place.folder / "left/hard.txt")
        ended = self._run("equal", "left", "right", "left__right", "left/x.txt", "./left/x.txt", "right/../right/x.txt")
        names = ["left/hard.txt", "left/right/x.txt", "left/x.txt", "left__right/x.txt", "right/../right/x.txt", "right/x.txt"]
        readable = len(list((self._place.folder / "equal").glob("*.md")))
        found = [] if readable == len(names) else [f"{readable} readable files"]
        return found + self._outcomes("equal", ended, {f"{name}#1": None for name in names})

    def a_file_over_1_GiB_is_too_large(self) -> list[str]:
        folder = self._folder("huge")
        for name, size in (("over", GIB + 1), ("far-over", 1 << 42)):
            with (folder / f"{name}.txt").open("wb") as file:
                file.truncate(size)  # sparse: it takes no room
        ended = self._run("huge-out", "huge", "good.txt")
        return self._outcomes("huge-out", ended, {
            "huge/over.txt#1": "too_large", "huge/far-over.txt#1": "too_large", "good.txt#1": None})  # fmt: skip

    def what_cannot_be_read_is_unreadable(self) -> list[str]:
        folder = self._folder("unreadable")
        (folder / "loop.txt").symlink_to("loop.txt")
        (folder / "device.txt").symlink_to("/dev/zero")
        (folder / "folder.txt").symlink_to(folder)
        (folder / "locked.txt").write_bytes(GOOD)
        (folder / "locked.txt").chmod(0)
        inputs = [f"unreadable/{name}.txt" for name in ("loop", "device", "locked")]
        expected: dict[str, str | None] = {f"{name}#1": "unreadable" for name in inputs} | {"good.txt#1": None}
        if os.geteuid() == 0:  # nothing is locked to root
            expected["unreadable/locked.txt#1"] = None
        return self._outcomes("unreadable-out", self._run("unreadable-out", *inputs, "good.txt"), expected)

    def files_that_vanish_or_change_between_listing_and_reading_fail_alone(self) -> list[str]:
        folder = self._folder("vanishing")
        for i in range(9):
            (folder / f"{i}.txt").write_bytes(GOOD * 20)
        slow = ("--set", "generation.max_tokens=600", "--set", "limits.sequences=1")
        running = self._place.start(["vanishing"], "vanishing-out", *slow)
        running.await_results(1)
        (folder / "8.txt").unlink()
        (folder / "7.txt").write_bytes(b"")
        (folder / "6.txt").write_bytes(b"\xff")
        (folder / "5.txt").unlink()
        (folder / "5.txt").mkdir()
        changed = {8: "not_found", 7: "empty", 6: "invalid_utf8", 5: "unreadable"}
        expected = {f"vanishing/{i}.txt#1": changed.get(i) for i in range(9)}
        return self._outcomes("vanishing-out", running.end(), expected) + running.left()

    def a_folder_of_many_files_has_an_outcome_for_each(self) -> list[str]:
        folder = self._folder("many")
        for i in range(self._many):
            (folder / f"{i:06}.txt").touch()
        (folder / "good.md").write_bytes(GOOD)
        expected: dict[str, str | None] = {f"many/{i:06}.txt#1": "empty" for i in range(self._many)}
        ended = self._place.start(["many", "good.txt"], "many-out", *SHORT).end(60 + self._many / 50)
        return self._outcomes("many-out", ended, expected | {"many/good.md#1": None, "good.txt#1": None})[:20]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path)
    parser.add_argument("--many", type=int, default=2000)
    parser.add_argument("--only")
    options = parser.parse_args()
    tally = Tally()
    record_all(tally, list(facts_of(Inputs(build_folder(options.build), options.many))), options.only)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
