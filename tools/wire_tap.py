#!/usr/bin/python3
"""Stands in front of a stage program and records what passes: every data message in and out, byte for byte.

Put it under the name of a stage program (penstock-layers, ...) into a folder that PENSTOCK_LIBEXEC names. The real
programs are in PENSTOCK_TAP_REAL (or PENSTOCK_TAP_PROGRAM is the real one); the records go to
PENSTOCK_TAP_FOLDER/STAGE.msgpack, one msgpack array [link, frame, ...] after another. It relays control messages too, and changes nothing but the places of the links; what
derives from Tap may (tests/e2e/byte_proxy.py).
"""
from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgpack
import zmq

LAST_WORDS_MS = 300  # control messages of a stage that has ended are still under way


class Tap:
    stage: subprocess.Popen  # the real one

    def __init__(self, name: str, coordinator: str, folder: Path, records: Path) -> None:
        self._context = zmq.Context()
        self._coordinator = coordinator
        self._folder = folder
        self._records = records.open("ab", buffering=0)
        self._dealers: dict[bytes, zmq.Socket] = {}  # the stage and its beats, as the coordinator knows them
        self._relays: dict[zmq.Socket, tuple[str, zmq.Socket]] = {}
        self._poller = zmq.Poller()
        self.control = f"ipc://{folder}/control"
        self._router = self._open(zmq.ROUTER)
        self._router.bind(self.control)
        self._poller.register(self._router, zmq.POLLIN)

    def _open(self, kind: int) -> zmq.Socket:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 1000)
        return socket

    def _dealer(self, identity: bytes) -> zmq.Socket:
        if identity not in self._dealers:
            socket = self._dealers[identity] = self._open(zmq.DEALER)
            socket.setsockopt(zmq.ROUTING_ID, identity)
            socket.connect(self._coordinator)
            self._poller.register(socket, zmq.POLLIN)
        return self._dealers[identity]

    def _relay(self, link: str, receive: str, send: str) -> None:
        pull, push = self._open(zmq.PULL), self._open(zmq.PUSH)
        pull.bind(receive)
        push.connect(send)
        self._relays[pull] = (link, push)
        self._poller.register(pull, zmq.POLLIN)

    def _divert(self, assignment: dict) -> dict:
        """The stage binds and connects to places of ours; we take the places that it was given."""
        for key in ("listen", "next", "trace"):
            endpoint = assignment[key]
            link = endpoint.rsplit("/", 1)[-1].rpartition(".")[0]  # without the epoch
            if not endpoint or (key == "next" and link.endswith(".in")):
                continue  # the next stage's own tap records that
            ours = f"ipc://{self._folder}/{key}"
            self._relay(link, *((endpoint, ours) if key == "listen" else (ours, endpoint)))
            assignment[key] = ours
        return assignment

    def _from_coordinator(self, identity: bytes, socket: zmq.Socket) -> None:
        message = socket.recv()
        fields = msgpack.unpackb(message)
        if fields["type"] == "assign":
            message = msgpack.packb(self._divert(fields))
        self._router.send_multipart([identity, message])

    def passes(self, link: str, frames: list[bytes]) -> list[list[bytes]]:
        """What goes on for a data message that came."""
        self._records.write(msgpack.packb([link, *frames]))
        return [frames]

    def says(self, identity: bytes, message: bytes) -> list[bytes]:
        """What goes on for a control message of the stage."""
        return [message]

    def step(self, timeout_ms: int) -> bool:
        """Passes on what is there; false when nothing came."""
        ready = dict(self._poller.poll(timeout_ms))
        for pull, (link, push) in self._relays.items():
            if pull in ready:
                for frames in self.passes(link, pull.recv_multipart()):
                    push.send_multipart(frames)
        if self._router in ready:
            identity, message = self._router.recv_multipart()
            for said in self.says(identity, message):
                self._dealer(identity).send(said)
        for identity, socket in list(self._dealers.items()):
            if socket in ready:
                self._from_coordinator(identity, socket)
        return bool(ready)

    def close(self) -> None:
        self._records.close()
        self._context.destroy(linger=1000)


def main(kind: type[Tap] = Tap) -> int:
    parser = argparse.ArgumentParser(description="started by the coordinator in place of a stage program")
    parser.add_argument("--name", required=True)
    parser.add_argument("--connect", required=True)
    parser.add_argument("--lifeline", type=int, required=True)
    options = parser.parse_args()
    real = os.environ.get("PENSTOCK_TAP_PROGRAM") or Path(os.environ["PENSTOCK_TAP_REAL"]) / Path(sys.argv[0]).name
    records = Path(os.environ["PENSTOCK_TAP_FOLDER"]) / f"{options.name}.msgpack"
    folder = Path(tempfile.mkdtemp(prefix="penstock-tap-"))
    tap = kind(options.name, options.connect, folder, records)
    arguments = [real, "--name", options.name, "--connect", tap.control, "--lifeline", str(options.lifeline)]
    stage = tap.stage = subprocess.Popen(arguments, pass_fds=[options.lifeline])
    try:
        while stage.poll() is None:
            tap.step(50)
        while tap.step(LAST_WORDS_MS):
            pass
    finally:
        stage.kill()
        tap.close()
        shutil.rmtree(folder)
    return stage.wait() if stage.returncode is None or stage.returncode >= 0 else 128 - stage.returncode


if __name__ == "__main__":
    sys.exit(main())
