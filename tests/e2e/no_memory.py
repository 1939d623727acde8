#!/usr/bin/python3
"""What a run does when memory or descriptors run out: one allocation of one of its programs fails (failing_malloc.c), from
the first to the last of its life, and the limit of open files
is anything from 4 up (with 3 the system's loader cannot start it).

After each: a documented exit status and words, no program died by a signal, no process, socket folder or temporary file
is left, and after the same command without the fault every input has exactly one record, equal to that of an undisturbed
run where it is an answer. Which allocations fail is drawn from a seed, which is printed.
"""
from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import CommandError, build_folder  # noqa: E402
from e2e.runs import Ended, Workplace, answers, lines, records  # noqa: E402
from reference.tally import Tally  # noqa: E402

SHAPE = ("--layers", 4, "--softmax-every", 4, "--hidden", 64, "--heads", 4, "--head-dim", 16, "--kv-heads", 2,
         "--rotary-dim", 8, "--inner", 64, "--experts", 4, "--positions", 4096)  # fmt: skip
WORK = ("--set", "generation.max_tokens=20", "--set", "limits.sequences=2")
DOCUMENTS = 3
WITHIN_S = 60
PROGRAMS = ("penstock", "penstock-tokenize", "penstock-layers", "penstock-head", "penstock-detokenize")
# 3: a document failed, by name; 4: no memory; 5: a stage is gone; 6: the model could not be read; 74: the disk. 0: it went
# without (a message that could not be said is said again with the next beat).
STATUSES = (0, 2, 3, 4, 5, 6, 74)
DESCRIPTORS = (4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 34, 38, 42, 48, 56, 64, 100, 200, 255, 256)


class NoMemory:
    def __init__(self, build: Path) -> None:
        self._place = Workplace(build, SHAPE, endless=True)
        self._place.write_documents(DOCUMENTS, 300)
        self._shim = build / "tests" / "failing-malloc.so"
        self._told = self._place.folder / "told"
        self._scratch = self._place.folder / "tmp"
        self._scratch.mkdir()
        if not self._shim.exists():
            raise CommandError(f"{self._shim} is not there: build the tests")
        undisturbed = self._place.run(["docs"], "undisturbed", *WORK).expect(0)
        if undisturbed:
            raise CommandError("\n".join(undisturbed))
        self._answers = answers(self._place.folder / "undisturbed")

    def _run(self, out: str, program: str, at: int) -> tuple[Ended, list[str]]:
        """The run, and what the shim has told."""
        self._told.unlink(missing_ok=True)
        words = {"LD_PRELOAD": self._shim, "PENSTOCK_FAIL_PROGRAM": program, "PENSTOCK_FAIL_AT": at,
                 "PENSTOCK_FAIL_COUNT": self._told, "TMPDIR": self._scratch}  # fmt: skip
        os.environ.update({key: str(value) for key, value in words.items()})
        try:
            running = self._place.start(["docs"], out, *WORK)
            running.stages()
        finally:
            for key in words:
                del os.environ[key]
        ended = running.end(WITHIN_S)
        running.seen.add(running.process.pid)
        left = running.left()
        told = self._told.read_text().splitlines() if self._told.exists() else []
        return Ended(ended.code, ended.out, ended.err + "".join(f"\n{line}" for line in left)), told + left

    def allocations(self, program: str) -> int:
        ended, told = self._run(f"count-{program}", program, 0)
        if ended.code or not told:
            raise CommandError(f"{program}: {ended.expect(0)}, {told}")
        return max(map(int, told))

    def _complaints(self, out: str, ended: Ended) -> list[str]:
        found = [] if ended.code in STATUSES else [f"exit status {ended.code}"]
        found += [f"a program died: {line}" for line in ended.err.splitlines() if re.search(r"signal (6|11|7|8|4)\b", line)]
        found += [] if ended.code == 0 or "penstock: " in ended.err else ["says nothing"]
        found += self._place.left() + [f"{path} is left" for path in self._scratch.iterdir()]
        if found:
            return found + [f"| {line}" for line in ended.err.splitlines()[-10:]]
        return self._recovers(out)

    def _recovers(self, out: str) -> list[str]:
        ended = self._place.run(["docs"], out, *WORK)
        found = [] if ended.code in (0, 3) else ended.expect(0)
        folder = self._place.folder / out
        ids = [record["custom_id"] for name in ("results.jsonl", "errors.jsonl") for record in records(folder / name)]
        expected = [f"docs/part-{i}.txt#1" for i in range(DOCUMENTS)]
        found += [] if sorted(ids) == expected else [f"records of {sorted(ids)}, expected one each of {expected}"]
        good = self._answers["results.jsonl"]
        found += [f"a wrong answer: {line[:90]!r}" for line in lines(folder / "results.jsonl") if line not in good]
        return found + self._place.left()

    def survives(self, program: str, at: int) -> list[str]:
        out = f"{program}-{at}"
        ended, told = self._run(out, program, at)
        # Two runs of a pipeline do not allocate equally often: the last few may not be reached.
        found = [] if f"failed {at}" in told or ended.code == 0 else ["no allocation failed"]
        return found + [line for line in told if line.startswith("still there")] + self._complaints(out, ended)

    def survives_descriptors(self, limit: int) -> list[str]:
        out = f"descriptors-{limit}"
        words = [self._place.command.binary, "run", "docs", "-m", self._place.model, "-q", "What?", "-o", out, *WORK]
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(self._place.runtime), "TMPDIR": str(self._scratch)}
        done = subprocess.run(
            list(map(str, words)), cwd=self._place.folder, env=environment, capture_output=True, timeout=WITHIN_S,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)), start_new_session=True,
        )  # fmt: skip
        ended = Ended(done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace"))
        found = [] if ended.code in STATUSES else [f"exit status {ended.code}"]
        found += [f"a program died: {line}" for line in ended.err.splitlines() if re.search(r"signal (6|11|7|8|4)\b", line)]
        found += self._place.left()
        return found + [f"| {line}" for line in ended.err.splitlines()[-6:]] if found else []


def sample(total: int, cases: int, chance: random.Random) -> list[int]:
    """The first few, the last, and some between: start-up and steady state."""
    return sorted({1, 2, 3, total, *(chance.randint(1, total) for _ in range(cases))} & set(range(1, total + 1)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=10, help="drawn for each program (10)")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    tally, chance = Tally(), random.Random(options.seed)
    faults = NoMemory(build_folder(options.build))
    for program in PROGRAMS:
        if options.only not in program:
            continue
        total = faults.allocations(program)
        print(f"{program}: {total} allocations")
        for at in sample(total, options.cases, chance):
            try:
                tally.record(f"{program}_survives_that_allocation_{at}_fails", faults.survives(program, at))
            except CommandError as error:
                tally.record(f"{program}_survives_that_allocation_{at}_fails", [str(error)])
    for limit in DESCRIPTORS if options.only in "descriptors" else ():
        tally.record(f"a_limit_of_{limit}_descriptors_is_told", faults.survives_descriptors(limit))
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
