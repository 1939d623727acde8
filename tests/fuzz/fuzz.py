#!/usr/bin/python3
"""Runs every fuzz target for a while, one after the other, under the address and undefined sanitizers.

A target starts from its corpus (tests/fuzz/corpus/NAME) and ends at its time or at its first finding. Its seed is printed
and repeats it; an input that broke it is kept in build/fuzz/found/NAME, and the words of the sanitizer are shown. What
is found belongs into the corpus, under a name that says what it is: fuzz-corpus-NAME is a plain test from then on.
"""
from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from reference.tally import Tally  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "fuzz"
# The longest input, in bytes: enough for the seeds and some more, small enough for many thousand inputs a second.
TARGETS = {
    "batch": 4096, "control": 4096, "safetensors": 4096, "index": 4096, "config": 4096, "pipeline": 4096, "ids": 4096,
    "timeline": 4096, "tokenizer": 8192, "request_line": 4096, "questions": 4096,
}  # fmt: skip
MEMORY_MIB = 1024  # resident, with the sanitizer's shadow and quarantine: what reserves on an input's word ends here
ALLOCATION_MIB = 128  # and here, when it does so in one piece
INPUT_S = 25  # no input may take longer


def run(name: str, seconds: int, seed: int) -> list[str]:
    corpus = ROOT / "tests" / "fuzz" / "corpus" / name
    found = BUILD / "found" / name
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="penstock-fuzz-") as grown:
        words = [
            BUILD / "tests" / "fuzz" / f"fuzz-{name}", f"-max_total_time={seconds}", f"-seed={seed}",
            f"-max_len={TARGETS[name]}", f"-rss_limit_mb={MEMORY_MIB}", f"-malloc_limit_mb={ALLOCATION_MIB}",
            f"-timeout={INPUT_S}", f"-artifact_prefix={found}/", "-print_final_stats=1", grown, corpus,
        ]  # fmt: skip
        environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
        done = subprocess.run(list(map(str, words)), capture_output=True, env=environment, timeout=seconds + 120)
    said = done.stderr.decode(errors="replace")
    inputs = re.search(r"number_of_executed_units: (\d+)", said)
    print(f"{name}: seed {seed}, {inputs[1] if inputs else '?'} inputs in {seconds} s", flush=True)
    if done.returncode == 0 and inputs:
        return []
    return [f"exit status {done.returncode}, seed {seed}", *(f"| {line}" for line in said.splitlines()[-40:])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--seed", type=int, help="of libFuzzer (default: another one each time, printed)")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (all)")
    options = parser.parse_args()
    unknown = set(options.targets) - TARGETS.keys()
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    tally = Tally()
    for name in options.targets or TARGETS:
        tally.record(f"{name}_survives_the_fuzzer", run(name, options.seconds, options.seed or random.randrange(1, 1 << 31)))
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
