#!/usr/bin/python3
"""Broken messages between the processes of a real run, made by a proxy in a stage's place (byte_proxy.py) from a seed.

After each: the run ends with exit 5 and words that name what came, or drops it and ends well; its results are those of a
run that nothing disturbed; the receiver has not grown by more than 8 MiB; no process, socket or temporary file is left;
and the same command without the fault does the rest. (A bit that flips in a payload, a seed or a temperature cannot be
seen on a link inside a host, which has no checksum: docs/wire.md.)
"""
from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Iterator

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import ROOT, CommandError, build_folder  # noqa: E402
from e2e.runs import Ended, Workplace, answer_differences, answers, lines, record_all  # noqa: E402
from reference.tally import Tally  # noqa: E402

try:
    import msgpack  # noqa: F401 (the proxy needs them)
    import zmq  # noqa: F401
except ImportError as missing:
    print(f"skip proxy_faults: {missing}; Debian has it in python3-msgpack, python3-zmq")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(77)

SHAPE = ("--layers", 4, "--softmax-every", 4, "--hidden", 64, "--heads", 4, "--head-dim", 16, "--kv-heads", 2,
         "--rotary-dim", 8, "--inner", 64, "--experts", 4, "--positions", 4096)  # fmt: skip
WORK = ("--set", "generation.max_tokens=40", "--set", "limits.batch_rows=32", "--set", "limits.sequences=2")
DOCUMENTS = 4
WITHIN_S = 40
STAGES = ("tokenize", "layers", "head", "detokenize")
# Which stage's proxy stands on the link, and who receives from it; the link's number of messages is at least 4.
MODEL_LINKS = ("layers-0-1.in", "layers-2-3.in", "head.in", "answers")
TEXT_LINKS = ("tokenize.in", "ids", "detokenize.in", "text")
# What is said of it; the first that came is enough.
WORDS = {
    "flipped_bit": ("batch header", "epoch", "batches were lost", "expected"),
    "cut_header": ("the message ends",),
    "cut_payload": ("the payload frame has", "its header says"),
    "longer_payload": ("the payload frame has", "the plan allows", "a frame of more than"),
    "random_header": ("batch header: byte",),
    "one_frame": ("a message of one frame",),
    "three_frames": ("a message of more than two frames",),
    "oversized": ("a frame of more than",),
    "twice": ("batches were lost", "was expected", "answers"),
    "stale": ("batch dropped epoch=0",),
    "premature": ("batch dropped epoch=2",),
    "reordered": ("batches were lost", "was expected", "answers"),
    "other_version": ("wire version 2, this build speaks 1",),
    "other_number": ("batches were lost", "was expected", "answers"),
}
CONTROL = {  # of a stage, at its first message (hello) or second (ready)
    "hello_of_another_version": (1, "is version 9.9.9, kind"),
    "hello_of_another_kind": (1, "kind 77; version"),
    "hello_without_a_version": (1, '"hello" without "version"'),
    "said_twice": (1, "it said hello while it was"),
    "random_bytes": (1, "control message"),
    "cut_message": (1, "control message"),
    "an_assignment": (1, "it said a message that a stage does not send"),
    "a_claim_of_a_billion_keys": (1, "1073741823 keys, 1 to 64 were expected"),
}


class ProxyFaults:
    def __init__(self, build: Path, seed: int) -> None:
        self._seed = seed
        self._build = build
        self._place = Workplace(build, SHAPE, endless=True, cut=("0-1", "2-3"))
        self._place.write_documents(DOCUMENTS, 600)
        self._libexec = self._proxied_libexec()
        undisturbed = self._place.run(["docs"], "undisturbed", *WORK).expect(0)
        if undisturbed:
            raise CommandError("\n".join(undisturbed))
        self._answers = answers(self._place.folder / "undisturbed")

    def _proxied_libexec(self) -> Path:
        libexec = self._place.folder / "proxied"
        libexec.mkdir()
        proxy = shlex.quote(str(ROOT / "tests/e2e/byte_proxy.py"))
        for stage in STAGES:
            program = libexec / f"penstock-{stage}"
            real = shlex.quote(str(self._build / "libexec" / "penstock" / program.name))
            program.write_text(f'#!/bin/sh\nPENSTOCK_TAP_PROGRAM={real} exec /usr/bin/python3 {proxy} "$@"\n')
            program.chmod(0o755)
        return libexec

    def _proxied(self, out: str, link: str, fault: str, at: int) -> tuple[Ended, Path]:
        """The run, and the folder of the proxies' own files."""
        scratch = self._place.folder / "tmp"
        scratch.mkdir(exist_ok=True)
        plan = {"link": link, "fault": fault, "at": at, "seed": self._seed}
        os.environ.update({"PENSTOCK_PROXY": json.dumps(plan), "TMPDIR": str(scratch), "PENSTOCK_TAP_FOLDER": str(scratch)})
        running = self._place.start(["docs"], out, *WORK, libexec=self._libexec)
        running.stages()
        try:
            ended = running.end(WITHIN_S)
        finally:
            del os.environ["TMPDIR"]
        return ended, scratch

    def _disturbed(self, out: str, link: str, fault: str, at: int) -> Ended:
        ended, scratch = self._proxied(out, link, fault, at)
        if not (scratch / "befell").exists():
            raise CommandError(f"the fault did not befall message {at} of {link}: {ended.expect(-1)}")
        (scratch / "befell").unlink()
        return ended

    def every_batch_repacked_by_python_gives_the_same_bytes(self) -> list[str]:
        ended, _ = self._proxied("repacked", "*", "repacked", 0)
        return ended.expect(0) + answer_differences(self._place.folder / "repacked", self._answers) + self._place.left()

    def befalls(self, link: str, fault: str, at: int, dropped: bool, words: tuple[str, ...]) -> list[str]:
        out = f"{link.replace('/', '-')}-{fault}-{at}"
        ended = self._disturbed(out, link, fault, at)
        found = ended.expect(0 if dropped else 5)
        if not any(word in ended.err for word in words):
            found.append(f"says none of {words}: {ended.err[-600:]}")
        if "no memory" in ended.err or "Cannot allocate" in ended.err:
            found.append(f"it wanted more memory: {ended.err[-300:]}")
        done = lines(self._place.folder / out / "results.jsonl")
        found += [f"a wrong result: {line[:90]!r}" for line in done if line not in self._answers["results.jsonl"]]
        found += self._place.left()
        found += self._place.run(["docs"], out, *WORK).expect(0)
        return found + answer_differences(self._place.folder / out, self._answers) + self._place.left()


def cases() -> Iterator[tuple[str, str, int, bool, tuple[str, ...]]]:
    """Link, fault, at which message, whether it is only dropped, and what is said."""
    for link in MODEL_LINKS + TEXT_LINKS:
        for fault, words in WORDS.items():
            if fault == "reordered" and link not in MODEL_LINKS:
                continue  # one text at a time: there is no next one to change places with
            dropped = fault in ("stale", "premature")
            yield link, fault, 2, dropped, words
    for stage in ("tokenize", "layers-0-1", "head"):
        for fault, (at, words) in CONTROL.items():
            yield f"{stage}/control", fault, at, False, (words,)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="only faults whose name holds this")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    tally = Tally()
    faults = ProxyFaults(build_folder(options.build), options.seed)
    if options.only in "repacked":
        record_all(tally, [faults.every_batch_repacked_by_python_gives_the_same_bytes])
    for link, fault, at, dropped, words in cases():
        name = f"{fault}_on_{link}_{'is_dropped' if dropped else 'ends_the_run_by_name'}"
        if options.only not in name:
            continue
        try:
            tally.record(name, faults.befalls(link, fault, at, dropped, words))
        except CommandError as error:
            tally.record(name, [str(error)])
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
