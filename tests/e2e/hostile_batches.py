#!/usr/bin/python3
"""Hostile and misplaced batches against the real stage programs: each is refused in words that say what came, the process
ends with exit status 1, and nothing is reserved on a message's word (it is not allowed to grow by more than 8 MiB). A batch of another epoch is dropped and the work
goes on. Each row of `refusals` is a fact.
"""
from __future__ import annotations

import argparse
import json
import struct
import sys
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import ROOT, CommandError, build_folder  # noqa: E402
from reference.tally import Tally  # noqa: E402

try:
    from e2e import wire_stage as wire
    from e2e.wire_stage import F32, I32, KIND_ACTIVATIONS, KIND_TEXT, KIND_TOKENS, PEER, START, STATE, U8, message
except ImportError as error:
    print(f"skip hostile_batches: {error}")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(77)

MODEL = ROOT / "tests" / "golden" / "nano"
CONFIG = json.loads((MODEL / "config.json").read_text())
HIDDEN, LAYERS = CONFIG["hidden_size"], CONFIG["num_hidden_layers"]

Frames = list[bytes]


def tokens(number: int, count: int = 2, position: int = 0, start: bool = True, **more: object) -> Frames:
    """Rows of sequence 0 for the first layers stage."""
    ops = (0, START, 16) if start else ()
    return message(number, KIND_TOKENS, I32, 1, (0, position, count, 1), struct.pack(f"<{count}i", *[3] * count),
                   **{"ops": ops, **more})  # fmt: skip


def rows(number: int, count: int = 1, **more: object) -> Frames:
    """Wanted rows for the head."""
    sample = (0, 7, 9, 0, 0.0, 1.0, 0, 0.0, 0)
    return message(number, KIND_ACTIVATIONS, F32, HIDDEN, (0, 5, count, 1), struct.pack("<f", 0.5) * HIDDEN * count,
                   **{"samples": sample, **more})  # fmt: skip


def stage(build: Path, kind: str) -> wire.StageUnderTest:
    program = build / "libexec" / "penstock" / f"penstock-{kind}"
    return wire.StageUnderTest(program, MODEL, last_layer=LAYERS - 1)


def replaced(frames: Frames, old: bytes, new: bytes) -> Frames:
    return [frames[0].replace(old, new, 1), frames[1]]


def refusals() -> dict[str, tuple[str, list[Frames], int, str]]:
    """Stage, what it is sent, and the code and words of its end."""
    good, header = tokens(1), tokens(1)[0]
    spans = bytes([0x94, 0, 0, 2, 1])
    return {
        "a_batch_number_gap": ("head", [rows(1), rows(3)], PEER, "batch 3 came after batch 1: batches were lost"),
        "a_batch_that_comes_twice": ("head", [rows(1), rows(1)], PEER, "batch 1 came after batch 1: batches were lost"),
        "a_first_batch_that_is_not_1": ("layers", [tokens(2)], PEER, "batch 2 came after batch 0: batches were lost"),
        "garbage": ("layers", [[b"\xc1" * 100, b"x" * 8]], PEER,
                    "batch header: byte 0: type 0xc1 where the batch (an array) was expected"),
        "an_empty_header": ("head", [[b"", b""]], PEER,
                            "batch header: byte 0: the message ends where the batch (an array) was expected"),
        "a_truncated_header": ("layers", [[header[:-5], good[1]]], PEER, "the message ends"),
        "one_frame": ("layers", [[header]], PEER, "a message of one frame, two were expected"),
        "three_frames": ("head", [[*rows(1), b"more"]], PEER, "a message of more than two frames"),
        "another_version": ("layers", [tokens(1, version=2)], PEER, "batch header: wire version 2, this build speaks 1"),
        "a_short_payload": ("layers", [[header, good[1][:-1]]], PEER,
                            "batch header: the payload frame has 7 bytes, its header says 8"),
        "what_stands_behind_the_header": ("head", [[header.ljust(4000, b"\0"), b""]], PEER,
                                          "bytes stand behind the header"),
        "a_claim_of_a_billion_spans": ("layers", [replaced(good, spans, b"\xdd\xff\xff\xff\xfc")], PEER,
                                       "1073741823 spans, at most 24 were expected"),
        "a_claim_of_four_billion_rows": ("layers", [replaced(good, spans, b"\x94\0\0\xce\xff\xff\xff\xff\x01")], PEER,
                                         "the payload claims 8 bytes, its header's rows, width and dtype say 17179869180"),
        "text_where_ids_were_expected": ("layers", [message(1, KIND_TEXT, U8, 1, (0, 0, 2, 0), b"ab")], PEER,
                                         "text (kind 4) came where token ids (kind 1) were expected"),
        "another_width": ("head", [message(1, KIND_ACTIVATIONS, F32, 1, (0, 0, 1, 1), b"\0" * 4)], PEER,
                          f"activations came as F32 of width 1, expected F32 of width {HIDDEN}"),
        "more_rows_than_the_plan": ("layers", [tokens(1, 17)], PEER,
                                    "batch header: a payload of 68 bytes, the plan allows 64"),
        "a_sample_of_no_rows": ("head", [message(1, KIND_ACTIVATIONS, F32, HIDDEN, (0, 5, 0, 0), b"",
                                                 samples=(0, 7, 9, 0, 0.0, 1.0, 0, 0.0, 0))], PEER,
                                "sample 0 is asked of span 0, which has no rows"),
        "rows_of_nobody": ("layers", [tokens(1, start=False)], PEER, "sequence 0"),
        "a_position_gap": ("layers", [tokens(1), tokens(2, position=3, start=False)], PEER, "sequence 0"),
        "a_token_that_does_not_exist": ("layers", [message(1, KIND_TOKENS, I32, 1, (0, 0, 1, 1), b"\xff" * 4,
                                                           ops=(0, START, 4))], PEER, "token id -1 in row 0"),
        "an_op_that_does_not_exist": ("layers", [tokens(1, ops=(0, 77, 0))], PEER, "op 77 does not belong to a layers stage"),
        "states_without_a_trace_link": ("layers", [tokens(1, ops=(0, START, 16, 0, STATE, 0))], PEER,
                                        "its states are asked for, but there is no trace link"),
        "a_sequence_beyond_the_context": ("layers", [tokens(1, ops=(0, START, 65))], PEER, "65"),
    }  # fmt: skip


class Hostile:
    def __init__(self, build: Path) -> None:
        self._build = build
        self.good = {"head": rows, "layers": tokens}

    def good_batches_are_answered(self, kind: str) -> list[str]:
        with stage(self._build, kind) as it:
            it.send(self.good[kind](1))
            answer = it.receive()
            ending = it.drain()
        return [] if (len(answer), answer[4], ending.status) == (13, 1, 0) else [f"{answer[:7]}, {ending}"]

    def refuses(self, kind: str, batches: list[Frames], code: int, words: str) -> list[str]:
        with stage(self._build, kind) as it:
            for frames in batches:
                it.send(frames)
            ending = it.fails()
        found = [] if ending.status == 1 else [f"exit status {ending.status}, expected 1"]
        found += [] if ending.code == code else [f"error code {ending.code}, expected {code}"]
        found += [f"{text!r} does not say {words!r}" for text in (ending.reason, ending.log) if words not in text]
        return found

    def another_epoch_is_dropped(self, kind: str) -> list[str]:
        """Whatever its number, and without a place in the count."""
        with stage(self._build, kind) as it:
            for number, epoch in ((1, 2), (9, 0), (2, 4294967295)):
                it.send(self.good[kind](number, epoch=epoch))
            it.send(self.good[kind](1))
            answer = it.receive()
            ending = it.drain()
        dropped = ending.log.count("warn batch dropped epoch=")
        found = [] if answer[2] == 1 and answer[4] == 1 else [f"answered {answer[:7]}"]
        return found + ([] if dropped == 3 and ending.status == 0 else [f"{dropped} drops in the log, {ending}"])

    def an_oversized_frame_ends_it(self, kind: str) -> list[str]:
        """libzmq drops the connection without a word; the receiver notices, and has made no room for what was to come."""
        with stage(self._build, kind) as it:
            it.send([b"\0" * (64 << 20), b""])
            it.send(self.good[kind](1))
            ending = it.fails()
        words = "broke and was made again, and what was in flight is lost: a frame of more than "
        return [] if (ending.status, ending.code) == (1, PEER) and words in ending.reason else [str(ending)]


def record(tally: Tally, name: str, fact: Callable[..., list[str]], *arguments: object) -> None:
    try:
        tally.record(name, fact(*arguments))
    except CommandError as error:
        tally.record(name, [str(error)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    tally = Tally()
    hostile = Hostile(build_folder(options.build))
    for kind in ("layers", "head"):
        record(tally, f"{kind}_answers_a_good_batch", hostile.good_batches_are_answered, kind)
        record(tally, f"{kind}_drops_a_batch_of_another_epoch_and_goes_on", hostile.another_epoch_is_dropped, kind)
        record(tally, f"{kind}_is_ended_by_an_oversized_frame", hostile.an_oversized_frame_ends_it, kind)
    for name, (kind, batches, code, words) in refusals().items():
        if options.only in name:
            record(tally, f"{kind}_refuses_{name}", hostile.refuses, kind, batches, code, words)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
