#!/usr/bin/python3
"""Prints messages of a real run as annotated hex, or refreshes the dump in docs/wire.md.

    wire_dump.py                  print the dump of a small run
    wire_dump.py --refresh        write it between the markers of docs/wire.md

The run is `penstock logits` over the golden model nano with a prompt of six tokens and one more to sample, one layers stage
and the head; tools/wire_tap.py records it. It needs python3-msgpack and python3-zmq.
"""
from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Iterator, Optional

import msgpack

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "wire.md"
BEGIN, END = "<!-- wire dump: tools/wire_dump.py --refresh -->\n", "<!-- end of the wire dump -->\n"
IDS = [17, 4, 42, 8, 15, 16]
STAGES = ("tokenize", "layers", "head", "detokenize")
TIMEOUT_S = 120
LINE_BYTES = 16

KINDS = {1: "TOKENS", 2: "ACTIVATIONS", 3: "ANSWERS", 4: "TEXT", 7: "TRACE", 8: "LOGITS"}
DTYPES = {1: "U8", 2: "I32", 3: "F32", 4: "BF16", 5: "F16"}
WANTS = {0: "NONE", 1: "LAST", 2: "ALL"}
OPS = {1: "START", 5: "END", 6: "STATE", 16: "TRACE_HIDDEN", 17: "TRACE_ROUTER", 18: "TRACE_WEIGHTS", 19: "TRACE_STATE"}
HEADER = ("version", "kind", "epoch", "lane", "batch number", "dtype", "width")
ARRAYS = {
    "spans": ("sequence", "position", "count", "want"),
    "ops": ("span", "code", "argument"),
    "samples": ("span", "seed", "prompt hash", "choice", "temperature", "top_p", "top_k", "min_p", "flags"),
}
NAMED = {"kind": KINDS, "dtype": DTYPES, "want": WANTS, "code": OPS}


class DumpError(Exception):
    pass


class Cursor:
    """Walks over one message, value by value, and keeps the bytes of each."""

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.at = 0

    def value(self) -> tuple[int, bytes, object]:
        """Place, bytes and content of the next number."""
        unpacker = msgpack.Unpacker()
        unpacker.feed(self.message[self.at :])
        value = unpacker.unpack()
        return self._step(unpacker.tell(), value)

    def array(self) -> tuple[int, bytes, int]:
        unpacker = msgpack.Unpacker()
        unpacker.feed(self.message[self.at :])
        count = unpacker.read_array_header()
        return self._step(unpacker.tell(), count)

    def bin(self) -> tuple[int, bytes, int]:
        sizes = {0xC4: 1, 0xC5: 2, 0xC6: 4}
        width = sizes[self.message[self.at]]
        count = int.from_bytes(self.message[self.at + 1 : self.at + 1 + width], "big")
        return self._step(1 + width, count)

    def _step(self, size: int, value: object) -> tuple[int, bytes, object]:
        place = self.at
        self.at += size
        return place, self.message[place : self.at], value


def line(place: int, data: bytes, words: str) -> str:
    return f"{place:04x}  {data.hex(' '):<47}  {words}".rstrip()


def named(field: str, value: object) -> str:
    name = NAMED.get(field, {}).get(value)
    return f"{field} {value}" + (f": {name}" if name else "")


def annotate(message: bytes) -> list[str]:
    """One line for each value of a message: offset, bytes, meaning."""
    cursor = Cursor(message)
    place, data, count = cursor.array()
    found = [line(place, data, f"array of {count}")]
    fields: dict[str, object] = {}
    for field in HEADER:
        place, data, fields[field] = cursor.value()
        found.append(line(place, data, named(field, fields[field])))
    for array, numbers in ARRAYS.items():
        place, data, count = cursor.array()
        found.append(line(place, data, f"{array}: array of {count}"))
        for i in range(count):
            place, data, value = cursor.value()
            found.append(line(place, data, f"  {named(numbers[i % len(numbers)], value)}"))
    for field in ("transport", "checksum"):
        place, data, value = cursor.value()
        found.append(line(place, data, named(field, value)))
    place, data, count = cursor.bin()
    found.append(line(place, data, f"payload: bin of {count} bytes; here frame 0 ends"))
    return found + list(payload_lines(message[cursor.at :], cursor.at, fields))


def payload_lines(payload: bytes, at: int, fields: dict[str, object]) -> Iterator[str]:
    for first in range(0, len(payload), LINE_BYTES):
        piece = payload[first : first + LINE_BYTES]
        yield line(at + first, piece, "  " + content(piece, fields))


def content(piece: bytes, fields: dict[str, object]) -> str:
    if KINDS[fields["kind"]] == "ANSWERS":
        token, logprob, status, _ = struct.unpack("<ifII", piece)
        return f"token {token}, logprob {logprob:.6g}, status {status}"
    form = {"I32": "i", "F32": "f"}.get(DTYPES[fields["dtype"]], "B")
    values = struct.unpack(f"<{len(piece) // struct.calcsize(form)}{form}", piece)
    return " ".join(f"{value:.6g}" for value in values)


def bytes_of(text: str) -> bytes:
    """The message of an annotated dump: its offsets must follow."""
    message = b""
    for row in text.splitlines():
        if int(row[:4], 16) != len(message):
            raise DumpError(f"offset {row[:4]} stands where {len(message):04x} was expected")
        message += bytes.fromhex(row[6:53])
    return message


def tapped_libexec(folder: Path) -> Path:
    """A folder of stage programs, each of which is the tap."""
    libexec = folder / "libexec"
    libexec.mkdir()
    for stage in STAGES:
        (libexec / f"penstock-{stage}").symlink_to(ROOT / "tools" / "wire_tap.py")
    return libexec


def records(folder: Path) -> dict[str, list[list[bytes]]]:
    """The frames of each message that a tap has seen, by link, in order."""
    found: dict[str, list[list[bytes]]] = {}
    for path in sorted(folder.glob("*.msgpack")):
        for link, *frames in msgpack.Unpacker(path.open("rb")):
            found.setdefault(link, []).append(frames)
    return found


def tap_variables(build: Path, folder: Path) -> dict[str, str]:
    """What the taps of a run want to know."""
    return {"PENSTOCK_TAP_REAL": str(build / "libexec" / "penstock"), "PENSTOCK_TAP_FOLDER": str(folder)}


def record_run(build: Path) -> dict[str, list[list[bytes]]]:
    with tempfile.TemporaryDirectory(prefix="penstock-dump-") as name:
        folder = Path(name)
        (folder / "ids.json").write_text(json.dumps([IDS]))
        command = [
            build / "bin" / "penstock", "logits", "--model", ROOT / "tests/golden/nano", "--ids", folder / "ids.json",
            "--out", folder / "out.safetensors", "--greedy", "1", "--positions", "last",
        ]  # fmt: skip
        variables = {**tap_variables(build, folder), "PENSTOCK_LIBEXEC": str(tapped_libexec(folder))}
        environment = {**os.environ, **variables}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.returncode:
            raise DumpError(f"penstock logits: exit status {done.returncode}: {done.stderr}")
        return records(folder)


def first_of(found: dict[str, list[list[bytes]]], kind: str, link: str) -> bytes:
    for name in sorted(found):
        for frames in found[name] if name.endswith(link) else []:
            message = b"".join(frames)
            if KINDS[msgpack.unpackb(message)[1]] == kind:
                return message
    raise DumpError(f"no {kind} on a link {link}: there are {sorted(found)}")


def dump(build: Path) -> str:
    found = record_run(build)
    parts = (
        ("The coordinator to the first layers stage: the prompt of six tokens, one to sample.", "TOKENS", ".in"),
        ("The last layers stage to the head: the one row that is wanted.", "ACTIVATIONS", "head.in"),
        ("The head to the coordinator: the answer, which acknowledges the batch.", "ANSWERS", "answers"),
    )
    text = ""
    for words, kind, link in parts:
        text += f"\n{words}\n\n```text\n" + "\n".join(annotate(first_of(found, kind, link))) + "\n```\n"
    return text + "\n"


def split_document(text: str) -> tuple[str, str, str]:
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise DumpError(f"{DOCUMENT.name} has not exactly one dump between {BEGIN.strip()} and {END.strip()}")
    before, _, rest = text.partition(BEGIN)
    inside, _, after = rest.partition(END)
    return before, inside, after


def main(arguments: Optional[list[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--refresh", action="store_true")
    options = parser.parse_args(arguments)
    text = dump(options.build.resolve())
    if not options.refresh:
        print(text, end="")
        return 0
    before, _, after = split_document(DOCUMENT.read_text())
    DOCUMENT.write_text(before + BEGIN + text + END + after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
