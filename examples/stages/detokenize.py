#!/usr/bin/python3
"""A Penstock stage in Python: token ids in, text out. It takes the place of the program penstock-detokenize.

docs/wire.md specifies what is said here; the names are the same. To use it, make a folder with the stage programs of
your build, put this file there as penstock-detokenize, and name the folder in PENSTOCK_LIBEXEC. It needs msgpack and
pyzmq (Debian: python3-msgpack, python3-zmq).
"""
from __future__ import annotations

import argparse
import codecs
import json
import os
import select
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgpack
import zmq

VERSION = "0.1.0"  # the coordinator takes stages of its own version only
STAGE_DETOKENIZE = 4
KIND_TOKENS, KIND_TEXT = 1, 4
DTYPE_U8, DTYPE_I32 = 1, 2
OP_START, OP_END = 1, 5
WAIT_NONE, WAIT_BATCH = 0, 1
PIECE_BYTES = 8 << 20
PEER = 8  # the code of an error: another process misbehaves


class Refused(Exception):
    """What came is not what the protocol says."""


class Vocabulary:
    """The bytes of each token of a byte-level BPE tokenizer.json; special tokens have none."""

    def __init__(self, path: Path) -> None:
        tokenizer = json.loads(path.read_text())
        letters = _byte_of_letter()
        self._bytes = {
            token: bytes(letters[letter] for letter in text)
            for text, token in tokenizer["model"]["vocab"].items()
            if all(letter in letters for letter in text)
        }
        for added in tokenizer.get("added_tokens", []):
            self._bytes[added["id"]] = b"" if added["special"] else added["content"].encode()

    def bytes_of(self, token: int) -> bytes:
        return self._bytes.get(token, b"")


def _byte_of_letter() -> dict[str, int]:
    """Byte-level BPE writes each byte as a printable letter."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


@dataclass
class Text:
    """One text under way: its decoder keeps a character that a token has cut."""

    decoder: codecs.IncrementalDecoder = field(default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"))
    ids: int = 0
    sent_bytes: int = 0


@dataclass
class Counters:
    progress: int = 0
    waiting_on: int = WAIT_BATCH
    batches: int = 0
    rows: int = 0
    busy_ns: int = 0
    wait_ns: int = 0
    dropped: int = 0
    epoch: int = 0
    last_in: int = 0
    last_out: int = 0

    def message(self, kind: str) -> bytes:
        return msgpack.packb({"type": kind, **vars(self)})


class Stage:
    def __init__(self, context: zmq.Context, assignment: dict, counters: Counters) -> None:
        self._vocabulary = Vocabulary(Path(assignment["model"]) / "tokenizer.json")
        self._context, self._high_water = context, assignment["window"] + 1
        self._counters = counters
        self.begin(assignment)

    def begin(self, links: dict) -> None:
        """An epoch: nothing is known of the one before, and the links are others."""
        self._texts: dict[int, Text] = {}
        self._counters.epoch = links["epoch"]
        self._counters.last_in = self._counters.last_out = 0
        self.incoming = _socket(self._context, zmq.PULL, self._high_water)
        self.incoming.bind(links["listen"])
        self._next = _socket(self._context, zmq.PUSH, self._high_water)
        self._next.connect(links["next"])

    def reset(self, links: dict) -> None:
        self.incoming.close(linger=0)
        self._next.close(linger=0)
        self.begin(links)

    def take(self, frames: list[bytes]) -> int:
        """One batch; returns its rows."""
        if len(frames) != 2:
            raise Refused(f"a message of {len(frames)} frames, 2 were expected")
        batch = msgpack.unpackb(b"".join(frames))
        if not isinstance(batch, list) or len(batch) != 13:
            raise Refused("the message is not an array of 13 elements")
        version, kind, epoch, lane, number, dtype, width, spans, ops, _, transport, _, payload = batch
        if (version, kind, dtype, width, transport) != (1, KIND_TOKENS, DTYPE_I32, 1, 0):
            raise Refused(f"version {version}, kind {kind}, dtype {dtype}, width {width} came where token ids were expected")
        if epoch != self._counters.epoch:
            self._counters.dropped += 1
            return 0
        if number != self._counters.last_in + 1:
            raise Refused(f"batch {number} came after batch {self._counters.last_in}: batches were lost")
        self._counters.last_in = number
        ids = struct.unpack(f"<{len(payload) // 4}i", payload)
        first = 0
        for index, (sequence, position, count) in enumerate(zip(spans[0::4], spans[1::4], spans[2::4])):
            here = {code for span, code in zip(ops[0::3], ops[1::3]) if span == index}
            self._take_span(lane, sequence, position, ids[first : first + count], here)
            first += count
        return len(ids)

    def _take_span(self, lane: int, sequence: int, position: int, ids: tuple[int, ...], ops: set[int]) -> None:
        if OP_START in ops:
            self._texts[sequence] = Text()
        text = self._texts.get(sequence)
        if text is None or text.ids != position:
            raise Refused(f"text {sequence}: token {position} does not follow")
        text.ids += len(ids)
        end = OP_END in ops
        piece = text.decoder.decode(b"".join(map(self._vocabulary.bytes_of, ids)), final=end)
        self._send(lane, sequence, text, piece.encode(), end)
        if end:
            del self._texts[sequence]

    def _send(self, lane: int, sequence: int, text: Text, data: bytes, end: bool) -> None:
        while data or end:
            piece = data[:PIECE_BYTES].decode(errors="ignore").encode()  # cut between characters
            data = data[len(piece) :]
            last = end and not data
            number = self._counters.last_out + 1
            spans = [sequence, text.sent_bytes & 0xFFFFFFFF, len(piece), 0]
            ops = [0, OP_END, 0] if last else []
            header = [1, KIND_TEXT, self._counters.epoch, lane, number, DTYPE_U8, 1, spans, ops, [], 0, 0]
            self._next.send_multipart(split(header, piece))
            self._counters.last_out = number
            text.sent_bytes += len(piece)
            if last:
                return


def split(header: list, payload: bytes) -> list[bytes]:
    """Two frames, whose concatenation is one msgpack array: the second is the content of its last element."""
    packed = msgpack.packb([*header, payload])
    cut = len(packed) - len(payload)
    return [packed[:cut], packed[cut:]]


def _socket(context: zmq.Context, kind: int, high_water: int = 0, identity: str = "") -> zmq.Socket:
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 1000)
    if high_water:
        socket.set_hwm(high_water)
    if identity:
        socket.setsockopt(zmq.ROUTING_ID, identity.encode())
    return socket


def beat(context: zmq.Context, endpoint: str, name: str, lifeline: int, counters: Counters, ending: threading.Event) -> None:
    """Every second a sign of life; and the end of the process when the coordinator is gone, however it went."""
    socket = _socket(context, zmq.DEALER, identity=f"{name}/beat")
    socket.connect(endpoint)
    while not ending.is_set():
        if select.select([lifeline], [], [], 0.0)[0]:
            os._exit(1)
        socket.send(counters.message("beat"))
        ending.wait(1.0)
    socket.close()


def serve(context: zmq.Context, control: zmq.Socket, counters: Counters) -> None:
    control.send(msgpack.packb({"type": "hello", "version": VERSION, "stage_kind": STAGE_DETOKENIZE, "pid": os.getpid()}))
    assignment = msgpack.unpackb(control.recv())
    if assignment["type"] == "drain":
        return
    stage = Stage(context, assignment, counters)
    control.send(msgpack.packb({
        "type": "ready", "bytes_done": 0, "bytes_total": 0, "load_ns": 0, "tensors": 0, "note": "", "device_name": "",
        "vocabulary": 0, "end_token": -1,
    }))  # fmt: skip
    while True:
        start = time.monotonic_ns()
        counters.waiting_on = WAIT_BATCH
        ready, _, _ = zmq.select([control, stage.incoming], [], [])
        counters.waiting_on = WAIT_NONE
        counters.wait_ns += time.monotonic_ns() - start
        if stage.incoming in ready:
            start = time.monotonic_ns()
            counters.rows += stage.take(stage.incoming.recv_multipart())
            counters.batches += 1
            counters.progress += 1
            counters.busy_ns += time.monotonic_ns() - start
        if control in ready:
            message = msgpack.unpackb(control.recv())
            if message["type"] == "drain":
                return
            if message["type"] == "reset":
                stage.reset(message)
                control.send(msgpack.packb({"type": "reset-done", "epoch": counters.epoch}))


def main() -> int:
    parser = argparse.ArgumentParser(description="started by `penstock run`")
    parser.add_argument("--name", required=True)
    parser.add_argument("--connect", required=True)
    parser.add_argument("--lifeline", type=int, required=True)
    options = parser.parse_args()
    context, counters, ending = zmq.Context(), Counters(), threading.Event()
    control = _socket(context, zmq.DEALER, identity=options.name)
    control.connect(options.connect)
    beats = threading.Thread(target=beat, args=(context, options.connect, options.name, options.lifeline, counters, ending))
    beats.start()
    status, last = 0, b""
    try:
        serve(context, control, counters)
        last = counters.message("bye")
    except Exception as error:  # whatever it is: the coordinator is told, in words
        print(f'error stage failed error="{error}"', file=sys.stderr, flush=True)
        status, last = 1, msgpack.packb({"type": "error", "code": PEER, "reason": str(error)[:2047]})
    control.send(last)
    ending.set()
    beats.join()
    context.destroy(linger=1000)
    return status


if __name__ == "__main__":
    sys.exit(main())
