"""A stage program that hands everything on to the real one, but for one fault on one link: what wire_tap.py is to seeing,
this is to breaking. tests/e2e/proxy_faults.py starts it by a script under the name of a stage program.

PENSTOCK_PROXY is a JSON object: `link` (as wire_tap.py calls links, "STAGE/control", or "*" for all and every message), `fault` (a method of Faults), `at`
(the message that it befalls, from 1) and `seed`. From the fault on the receiver may not grow by more than GROWTH_BYTES.
"""
from __future__ import annotations

import json
import os
import random
import resource
import sys
from pathlib import Path

import msgpack

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import wire_tap  # noqa: E402

GROWTH_BYTES = 8 << 20
OVERSIZED_BYTES = 64 << 20

Frames = list[bytes]


def replaced(frames: Frames, index: int, value: object) -> Frames:
    """The batch with another value of one element."""
    batch = msgpack.unpackb(b"".join(frames))
    batch[index] = value
    packed = msgpack.Packer(use_single_float=True).pack(batch)
    cut = len(packed) - len(batch[12])
    return [packed[:cut], packed[cut:]]


class Faults:
    """Each takes the message and gives what comes in its place. `chance` is the seed's."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._held: list[Frames] = []

    def flipped_bit(self, frames: Frames) -> list[Frames]:
        """In what the receiver can know to be wrong: the array, version, epoch, number, dtype and width."""
        header = bytearray(frames[0])
        at = self._chance.choice([0, 1, 2, 3, 5, 6, 7])
        header[at] ^= 1 << self._chance.randrange(8)
        return [[bytes(header), frames[1]]]

    def cut_header(self, frames: Frames) -> list[Frames]:
        return [[frames[0][: self._chance.randrange(len(frames[0]))], frames[1]]]

    def cut_payload(self, frames: Frames) -> list[Frames]:
        return [[frames[0], frames[1][: self._chance.randrange(max(1, len(frames[1])))]]]

    def longer_payload(self, frames: Frames) -> list[Frames]:
        return [[frames[0], frames[1] + b"\0" * self._chance.randrange(1, 9)]]

    def random_header(self, frames: Frames) -> list[Frames]:
        return [[self._chance.randbytes(len(frames[0])), frames[1]]]

    def one_frame(self, frames: Frames) -> list[Frames]:
        return [[frames[0]]]

    def three_frames(self, frames: Frames) -> list[Frames]:
        return [[*frames, b"more"]]

    def oversized(self, frames: Frames) -> list[Frames]:
        return [[frames[0], b"\0" * OVERSIZED_BYTES], frames]

    def twice(self, frames: Frames) -> list[Frames]:
        return [frames, frames]

    def stale(self, frames: Frames) -> list[Frames]:
        """Before it comes one of an epoch that has ended."""
        return [replaced(frames, 2, 0), frames]

    def premature(self, frames: Frames) -> list[Frames]:
        return [replaced(frames, 2, 2), frames]

    def reordered(self, frames: Frames) -> list[Frames]:
        """It waits for the next one."""
        self._held.append(frames)
        return []

    def otherwise(self, frames: Frames) -> list[Frames]:
        """Every message that no fault befalls; behind it those that waited."""
        held, self._held = self._held, []
        return [frames, *held]

    def repacked(self, frames: Frames) -> list[Frames]:
        """No fault: the same batch, as Python's msgpack reads and writes it."""
        return [replaced(frames, 0, 1)]

    def other_version(self, frames: Frames) -> list[Frames]:
        return [replaced(frames, 0, 2)]

    def other_number(self, frames: Frames) -> list[Frames]:
        return [replaced(frames, 4, 1 << 40)]

    def hello_of_another_version(self, message: bytes) -> list[bytes]:
        return [msgpack.packb({**msgpack.unpackb(message), "version": "9.9.9"})]

    def hello_of_another_kind(self, message: bytes) -> list[bytes]:
        return [msgpack.packb({**msgpack.unpackb(message), "stage_kind": 77})]

    def hello_without_a_version(self, message: bytes) -> list[bytes]:
        return [msgpack.packb({"type": "hello", "stage_kind": 1, "pid": 1})]

    def said_twice(self, message: bytes) -> list[bytes]:
        return [message, message]

    def random_bytes(self, message: bytes) -> list[bytes]:
        return [self._chance.randbytes(len(message))]

    def cut_message(self, message: bytes) -> list[bytes]:
        return [message[: self._chance.randrange(len(message))]]

    def an_assignment(self, message: bytes) -> list[bytes]:
        """What only a coordinator says."""
        return [msgpack.packb({"type": "drain"})]

    def a_claim_of_a_billion_keys(self, message: bytes) -> list[bytes]:
        return [b"\xdf\x3f\xff\xff\xff" + message[1:]]


class Proxy(wire_tap.Tap):
    def __init__(self, name: str, coordinator: str, folder: Path, records: Path) -> None:
        super().__init__(name, coordinator, folder, records)
        plan = json.loads(os.environ["PENSTOCK_PROXY"])
        self._name, self._link, self._at = name, plan["link"], plan["at"]
        self._faults = Faults(random.Random(plan["seed"]))
        self._fault = getattr(self._faults, plan["fault"])
        self._seen, self._befell, self._payload = 0, False, plan["fault"] == "cut_payload"

    def passes(self, link: str, frames: Frames) -> list[Frames]:
        if self._link == "*":
            return self._fault(frames)
        if link != self._link:
            return [frames]
        if frames[1] or not self._payload:  # an empty payload cannot be cut
            self._seen += 1
        if self._seen != self._at or self._befell:
            return self._faults.otherwise(frames)
        self._befell = True
        self._forbid_growth(self.stage.pid if link == f"{self._name}.in" else os.getppid())
        return self._fault(frames)

    def says(self, identity: bytes, message: bytes) -> list[bytes]:
        if self._link != f"{identity.decode()}/control":
            return [message]
        self._seen += 1
        if self._seen != self._at:
            return [message]
        self._forbid_growth(os.getppid())
        return self._fault(message)

    def _forbid_growth(self, pid: int) -> None:
        status = Path(f"/proc/{pid}/status").read_text()
        size_kib = next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmSize:"))
        limit = size_kib * 1024 + GROWTH_BYTES
        resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
        (self._folder.parent / "befell").touch()


if __name__ == "__main__":
    sys.exit(wire_tap.main(Proxy))
