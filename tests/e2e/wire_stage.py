"""A coordinator for one real stage program, which may send it anything.

It speaks the protocol of docs/wire.md, written down here once more and not taken from the product: hello, assign, ready,
batches, drain. StageUnderTest is one process; it does not outlive its `with` block.
"""
from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Sequence

import msgpack
import zmq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import CommandError  # noqa: E402

WAIT_S = 20
GROWTH_BYTES = 8 << 20
EPOCH = 1
KIND_TOKENS, KIND_ACTIVATIONS, KIND_ANSWERS, KIND_TEXT = 1, 2, 3, 4
U8, I32, F32 = 1, 2, 3
START, END, STATE = 1, 5, 6
PEER = 8


@dataclass(frozen=True)
class Ending:
    """How the process ended, and what it said last."""

    status: int
    code: int
    reason: str
    log: str


def message(number: int, kind: int, dtype: int, width: int, spans: Sequence[int], payload: bytes, ops: Sequence[int] = (),
            samples: Sequence[object] = (), epoch: int = EPOCH, version: int = 1) -> list[bytes]:  # fmt: skip
    """The two frames of a batch."""
    packer = msgpack.Packer(use_single_float=True)
    array = [version, kind, epoch, 0, number, dtype, width, list(spans), list(ops), list(samples), 0, 0, payload]
    packed = packer.pack(array)
    cut = len(packed) - len(payload)
    return [packed[:cut], packed[cut:]]


class StageUnderTest:
    def __init__(self, program: Path, model: Path, **part: object) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="penstock-stage-")
        self._context = zmq.Context()
        self._program, self._model, self._part = program, model, part
        self._process: Optional[subprocess.Popen] = None

    def __enter__(self) -> "StageUnderTest":
        self._control = self._socket(zmq.ROUTER, bind="control")
        self._replies = self._socket(zmq.PULL, bind="out")
        self._lifeline = os.pipe()
        self._log = open(Path(self._folder.name) / "log", "w+")
        arguments = [self._program, "--name", "it", "--connect", self._endpoint("control"),
                     "--lifeline", str(self._lifeline[0])]  # fmt: skip
        self._process = subprocess.Popen(arguments, pass_fds=[self._lifeline[0]], stderr=self._log)
        self._expect("hello")
        self._control.send_multipart([b"it", msgpack.packb(self._assignment())])
        self._expect("ready")
        self._batches = self._socket(zmq.PUSH, connect="in")
        self._forbid_growth()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process and self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        self._context.destroy(linger=0)
        os.close(self._lifeline[0])
        os.close(self._lifeline[1])
        self._log.close()
        self._folder.cleanup()

    def _forbid_growth(self) -> None:
        """From now on it cannot reserve more than a little: what it needs for batches it has already."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        size_kib = next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmSize:"))
        limit = size_kib * 1024 + GROWTH_BYTES
        resource.prlimit(self._process.pid, resource.RLIMIT_AS, (limit, limit))

    def _endpoint(self, name: str) -> str:
        return f"ipc://{self._folder.name}/{name}"

    def _socket(self, kind: int, bind: str = "", connect: str = "") -> zmq.Socket:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.RCVTIMEO, WAIT_S * 1000)
        socket.setsockopt(zmq.SNDTIMEO, WAIT_S * 1000)
        if bind:
            socket.bind(self._endpoint(bind))
        else:
            socket.connect(self._endpoint(connect))
        return socket

    def _assignment(self) -> dict[str, object]:
        return {
            "type": "assign", "model": str(self._model), "device": "cpu", "io": "pread", "first_layer": 0, "last_layer": 0,
            "threads": 1, "batch_rows": 16, "sequences": 4, "context": 64, "window": 4, "epoch": EPOCH,
            "listen": self._endpoint("in"), "next": self._endpoint("out"), "trace": "", "slices": 0, **self._part,
        }  # fmt: skip

    def _expect(self, kind: str) -> dict:
        """The next message of this type; beats and loading may come before it."""
        deadline = time.monotonic() + WAIT_S
        while True:
            if not self._control.poll(max(0, 1000 * (deadline - time.monotonic()))):
                raise CommandError(f"no {kind} within {WAIT_S} s; the stage's log: {self.log()}")
            _, packed = self._control.recv_multipart()
            fields = msgpack.unpackb(packed)
            if fields["type"] == kind:
                return fields
            if fields["type"] in ("error", "bye"):
                raise CommandError(f"{fields} came where {kind} was expected")

    def log(self) -> str:
        return Path(self._log.name).read_text()

    def send(self, frames: Sequence[bytes]) -> None:
        self._batches.send_multipart(list(frames))

    def receive(self) -> list:
        """The next batch that it sends."""
        try:
            return msgpack.unpackb(b"".join(self._replies.recv_multipart()))
        except zmq.Again:
            raise CommandError(f"no batch within {WAIT_S} s; the stage's log: {self.log()}") from None

    def drain(self) -> Ending:
        self._control.send_multipart([b"it", msgpack.packb({"type": "drain"})])
        self._expect("bye")
        return self._ending(0, "")

    def fails(self) -> Ending:
        """Waits for its last words and its end."""
        said = self._expect("error")
        return self._ending(said["code"], said["reason"])

    def _ending(self, code: int, reason: str) -> Ending:
        return Ending(self._process.wait(WAIT_S), code, reason, self.log())
