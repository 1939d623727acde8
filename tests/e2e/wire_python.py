#!/usr/bin/python3
"""The wire as docs/wire.md specifies it, held against real processes from the outside, in Python.

A stage in Python (examples/stages/detokenize.py) takes the place of the C program and gives the same bytes; every message
on every link of a run is one msgpack array of 13 elements that keeps the document's rules; the document's dump decodes
to what stands beside it, is what a run of today says, and its tables are those of the headers.
"""
from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import ROOT, CommandError, build_folder  # noqa: E402
from e2e.runs import Ended, Workplace, answer_differences, answers, facts_of, record_all  # noqa: E402
from reference.tally import Tally  # noqa: E402

try:
    import msgpack
    import zmq  # noqa: F401 (the stage in Python and the tap need it)

    sys.path.insert(0, str(ROOT / "tools"))
    import wire_dump
except ImportError as missing:
    print(f"skip wire_python: {missing}; Debian has it in python3-msgpack, python3-zmq")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(77)

SHAPE = ("--layers", 4, "--softmax-every", 4, "--hidden", 64, "--heads", 4, "--head-dim", 16, "--kv-heads", 2,
         "--rotary-dim", 8, "--inner", 64, "--experts", 4, "--positions", 4096)  # fmt: skip
# A small batch: prompts go in chunks. Random tokens: text with every kind of cut and ill-formed character.
WORK = ("--set", "generation.max_tokens=60", "--set", "limits.batch_rows=64", "--set", "limits.sequences=2",
        "--set", "generation.temperature=1")  # fmt: skip
DTYPE_BYTES = {1: 1, 2: 4, 3: 4, 4: 2, 5: 2}
EXPECTED = {  # (kind, dtype) of what may come on a link
    "tokenize.in": {(4, 1)}, "ids": {(1, 2)}, "answers": {(3, 1), (8, 3)}, "detokenize.in": {(1, 2)}, "text": {(4, 1)},
    "head.in": {(2, 3)}, "layers-0-1.in": {(1, 2)}, "layers-2-3.in": {(2, 3)},
}  # fmt: skip


def message_complaints(link: str, frames: list[bytes]) -> list[str]:
    if len(frames) != 2:
        return [f"{link}: {len(frames)} frames"]
    batch = msgpack.unpackb(frames[0] + frames[1])
    if not isinstance(batch, list) or len(batch) != 13:
        return [f"{link}: not an array of 13 elements: {batch!r:.80}"]
    version, kind, epoch, lane, number, dtype, width, spans, ops, samples, transport, checksum, payload = batch
    found = [] if payload == frames[1] else ["frame 1 is not the content of the bin"]
    if (version, epoch, lane, transport, checksum) != (1, 1, 0, 0, 0):
        found.append(f"version, epoch, lane, transport, checksum are {(version, epoch, lane, transport, checksum)}")
    if (kind, dtype) not in EXPECTED[link]:
        found.append(f"kind {kind} of dtype {dtype}")
    if len(spans) % 4 or len(ops) % 3 or len(samples) % 9:
        found.append(f"{len(spans)} numbers of spans, {len(ops)} of ops, {len(samples)} of samples")
    if len(payload) != sum(spans[2::4]) * width * DTYPE_BYTES[dtype]:
        found.append(f"{len(payload)} bytes for {sum(spans[2::4])} rows of width {width}")
    if any(span >= len(spans) // 4 for span in ops[0::3] + samples[0::9]):
        found.append("an op or a sample of a span that is not there")
    return [f"{link}: batch {number}: {complaint}" for complaint in found]


def numbers(messages: list[list[bytes]], kind: int = 0) -> list[int]:
    batches = [msgpack.unpackb(b"".join(frames)) for frames in messages]
    return [batch[4] for batch in batches if batch[1] == kind or not kind]


class Wire:
    def __init__(self, build: Path) -> None:
        self._build = build
        self._place = Workplace(build, SHAPE, cut=("0-1", "2-3"))
        self._place.write_documents(3, 500)
        undisturbed = self._place.run(["docs"], "by_c", *WORK).expect(0)
        if undisturbed:
            raise CommandError("\n".join(undisturbed))
        self._answers = answers(self._place.folder / "by_c")

    def a_stage_in_python_gives_the_bytes_of_the_one_in_c(self) -> list[str]:
        libexec = self._place.folder / "python"
        libexec.mkdir()
        for stage in wire_dump.STAGES:
            name = f"penstock-{stage}"
            (libexec / name).symlink_to(
                ROOT / "examples/stages/detokenize.py" if stage == "detokenize" else self._build / "libexec/penstock" / name
            )
        ended = self._place.run(["docs"], "by_python", *WORK, libexec=libexec)
        return ended.expect(0) or answer_differences(self._place.folder / "by_python", self._answers)

    def every_message_of_a_run_is_one_array_of_13_elements(self) -> list[str]:
        folder = self._place.folder / "tapped"
        folder.mkdir()
        found = self._run_tapped(folder).expect(0) or answer_differences(self._place.folder / "by_tap", self._answers)
        messages = wire_dump.records(folder)
        if set(messages) != set(EXPECTED):
            found.append(f"links {sorted(messages)}, expected {sorted(EXPECTED)}")
        for link, all_frames in messages.items():
            found += [words for frames in all_frames for words in message_complaints(link, frames)]
            found += self._order_complaints(link, all_frames)
        return found[:20]

    def _run_tapped(self, folder: Path) -> Ended:
        parts = (("tokenize", ""), ("layers", ", layers: 0-1"), ("layers", ", layers: 2-3"), ("head", ""), ("detokenize", ""))
        stages = (f"  - {{ name: {kind}{more.replace(', layers: ', '-')}, kind: {kind}{more} }}" for kind, more in parts)
        pipeline = self._place.write_pipeline("two.yaml", "\n".join(["version: 1", "stages:", *stages, ""]))
        os.environ.update(wire_dump.tap_variables(self._build, folder))
        return self._place.run(["docs"], "by_tap", *WORK, pipeline=pipeline, libexec=wire_dump.tapped_libexec(folder))

    def _order_complaints(self, link: str, messages: list[list[bytes]]) -> list[str]:
        """1, 2, 3 ...; each batch of the model is acknowledged once."""
        seen = numbers(messages, 3 if link == "answers" else 0)
        return [] if seen == list(range(1, len(seen) + 1)) else [f"{link}: batch numbers {seen[:20]}"]

    def the_dump_in_the_document_decodes_to_what_stands_beside_it(self) -> list[str]:
        _, inside, _ = wire_dump.split_document(wire_dump.DOCUMENT.read_text())
        blocks = re.findall(r"```text\n(.*?)\n```", inside, re.DOTALL)
        found = [] if len(blocks) == 3 else [f"{len(blocks)} blocks, expected 3"]
        for block in blocks:
            message = wire_dump.bytes_of(block)
            batch = msgpack.unpackb(message)
            found += [] if len(batch) == 13 else [f"an array of {len(batch)}"]
            found += [f"{says!r}, expected {line!r}"
                      for says, line in zip(block.splitlines(), wire_dump.annotate(message)) if says != line]  # fmt: skip
        return found

    def the_dump_in_the_document_is_what_a_run_says_today(self) -> list[str]:
        _, inside, _ = wire_dump.split_document(wire_dump.DOCUMENT.read_text())
        today = wire_dump.dump(self._build)
        return [f"{old!r}, today {new!r}" for old, new in zip(inside.splitlines(), today.splitlines()) if old != new][:8] + (
            [] if inside == today else ["refresh it: tools/wire_dump.py --refresh"]
        )

    def the_document_s_codes_are_those_of_the_headers(self) -> list[str]:
        text = wire_dump.DOCUMENT.read_text()
        wire, dtypes = (ROOT / "ipc" / name for name in ("wire.h", "dtype.h"))
        codes = re.findall(r"PK_(?:KIND|OP|WANT)_(\w+) = (\d+)", wire.read_text())
        codes += re.findall(r"PK_(\w+) = (\d+),$", dtypes.read_text(), re.MULTILINE)
        codes += re.findall(r"PK_SAMPLE_(\w+) = (\d+)", wire.read_text())
        found = [f"| {code} | `{name}` | is not in a table" for name, code in codes if f"| {code} | `{name}` |" not in text]
        return found if len(codes) >= 20 else [f"only {len(codes)} codes were found in the headers"]

    def the_document_s_control_keys_are_those_of_the_code(self) -> list[str]:
        rows = dict(re.findall(r"^\| `([\w-]+)` \| \w+.*?\| (.*) \|$", (wire_dump.DOCUMENT.read_text()), re.MULTILINE))
        found = []
        for kinds, key in re.findall(r"FIELD\((ON.*?), \w+, \"(\w+)\"", (ROOT / "ipc/control.c").read_text()):
            for kind in re.findall(r"ON\((\w+)\)", kinds):
                row = rows.get("beat" if kind == "BYE" else kind.lower().replace("_", "-"), "")
                found += [] if f"`{key}`" in row else [f"{kind.lower()}: {key} is not in its row"]
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path)
    parser.add_argument("--only")
    options = parser.parse_args()
    tally = Tally()
    record_all(tally, list(facts_of(Wire(build_folder(options.build)))), options.only)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
