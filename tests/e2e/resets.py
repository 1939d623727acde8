#!/usr/bin/python3
"""The reset barrier, in mid-run, at random moments: all stages forget everything, and the results do not change by a bit.

Resets come from `penstock debug reset` and, where a command has no run directory, from SIGUSR1. The moments are drawn
from a seed that is printed; --seed repeats them (as far as a busy machine lets them fall alike). Each method of Resets is
a fact; --only WORD runs those whose names hold WORD.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import TIMEOUT_S, CommandError, build_folder  # noqa: E402
from e2e.runs import (  # noqa: E402
    EXAMPLES, Running, Workplace, answer_differences, answers, children, facts_of, lines, record_all, wait_until,
)  # fmt: skip
from reference.tally import Tally  # noqa: E402

SHAPE = ("--layers", 4, "--softmax-every", 4, "--hidden", 64, "--heads", 4, "--head-dim", 16, "--kv-heads", 2,
         "--rotary-dim", 8, "--inner", 64, "--experts", 4, "--positions", 65536)  # fmt: skip
DOCUMENTS = 6
DECODE = ("--set", "generation.max_tokens=400", "--set", "limits.sequences=3", "--set", "generation.temperature=0.8")
PREFILL = ("--set", "generation.max_tokens=4", "--set", "limits.batch_rows=16", "--set", "limits.sequences=2")
TOKENIZE = ("--set", "generation.max_tokens=2", "--set", "limits.context=65536")
STAGES = 5


class Resets:
    def __init__(self, build: Path, seed: int) -> None:
        self._random = random.Random(seed)
        self._place = Workplace(build, SHAPE, endless=True, cut=("0-1", "2-3"))
        self._place.write_documents(DOCUMENTS, 1200)
        self._place.write_documents(2, 20000, "long")
        self._sampled = ("--set", "generation.seed=11")

    def _start(self, inputs: str, out: str, options: tuple) -> Running:
        return self._place.start([inputs], out, *options, *self._sampled)

    def _undisturbed(self, inputs: str, out: str, options: tuple, code: int) -> dict[str, object]:
        found = self._start(inputs, out, options).end().expect(code)
        if found:
            raise CommandError("\n".join(found))
        return answers(self._place.folder / out)

    def _reset(self, running: Running) -> bool:
        """Asks for one; False when the run is over."""
        words = [self._place.command.binary, "debug", "reset", "--run", running.out]
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=TIMEOUT_S)
        return done.returncode == 0

    def _disturbed(self, inputs: str, out: str, options: tuple, pauses: Sequence[float], least: int,
                   ready: Callable[[Running], bool], code: int = 0) -> list[str]:  # fmt: skip
        """The same run with a reset after each pause; at least so many must have fallen into it."""
        expected = self._undisturbed(inputs, f"{out}-undisturbed", options, code)
        running = self._start(inputs, out, options)
        wait_until(lambda: ready(running) or running.process.poll() is not None, "the run is where it is wanted")
        count = 0
        for pause in pauses:
            time.sleep(pause)
            if not self._reset(running):
                break
            running.stages()
            count += 1
        found = running.end().expect(code) + answer_differences(running.out, expected) + running.left() + self._place.left()
        summary = json.loads((running.out / "summary.json").read_text())
        found += [] if count >= least else [f"{count} resets fell into the run, {least} were expected"]
        epoch = summary["epoch"]  # two that meet are one barrier, and one that meets the end is none
        found += [] if least < epoch <= count + 1 else [f"{count} resets, and the epoch is {epoch}"]
        return found + ([] if self._journaled(running) == epoch else [f"the journal's epoch is {self._journaled(running)}"])

    def _journaled(self, running: Running) -> int:
        (journal,) = (running.out / ".penstock").glob("journal*[!lm]")
        with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database:
            return database.execute("SELECT epoch FROM run").fetchone()[0]

    def _pauses(self, count: int, most_s: float) -> list[float]:
        return [self._random.uniform(0, most_s) for _ in range(count)]

    @staticmethod
    def _at_work(running: Running) -> bool:
        status = running.out / ".penstock/status.json"
        return len(running.stages()) == STAGES and status.exists() and (running.out / ".penstock/console").exists()

    def resets_while_generating_change_no_byte(self) -> list[str]:
        def some(running: Running) -> bool:
            return self._at_work(running) and len(lines(running.out / "results.jsonl")) >= 1

        return self._disturbed("docs", "decode", DECODE, self._pauses(5, 0.2), 2, some)

    def resets_from_the_first_moment_on_change_no_byte(self) -> list[str]:
        return self._disturbed("docs", "loading", DECODE, self._pauses(8, 0.1), 4, self._at_work)

    def resets_while_prompts_are_read_change_no_byte(self) -> list[str]:
        return self._disturbed("long", "prefill", PREFILL, self._pauses(6, 0.15), 2, self._at_work)

    def resets_while_a_text_is_tokenized_change_no_byte(self) -> list[str]:
        folder = self._place.folder / "huge"
        folder.mkdir()
        text = (EXAMPLES / "documents/pride-and-prejudice-1-5.txt").read_text()
        (folder / "huge.txt").write_text(text * (24_000_000 // len(text)))  # three pieces; more tokens than allowed
        (folder / "small.txt").write_text(text[:2000])
        return self._disturbed("huge", "tokenize", TOKENIZE, self._pauses(6, 0.08), 2, self._at_work, code=3)

    def the_next_run_of_a_directory_begins_a_new_epoch(self) -> list[str]:
        found = self._start("docs", "decode", DECODE).end().expect(0)  # of an earlier fact, or the first
        self._place.write_documents(1, 900, "more")
        before = json.loads((self._place.folder / "decode/summary.json").read_text())["epoch"]
        running = self._place.start(["docs", "more"], "decode", *DECODE, *self._sampled)
        found += running.end().expect(0)
        after = json.loads((running.out / "summary.json").read_text())["epoch"]
        return found + ([] if after == before + 1 else [f"epoch {before}, then {after}"])

    def _logits(self, name: str, resets: int) -> tuple[bytes, int]:
        """The output's bytes, and how many epochs its first stage saw: in each its batches count from 1."""
        folder = self._place.folder
        ids, out, trace = folder / "ids.json", folder / f"{name}.safetensors", folder / f"{name}.trace"
        ids.write_text(json.dumps([[(7 * i + j) % 4096 for j in range(700 + 400 * i)] for i in range(3)]))
        words = [self._place.command.binary, "logits", "--pipeline", self._place.usual, "-m", self._place.model, "--ids", ids, "-o", out, "--internals",
                 "--greedy", 400, "--batch-rows", 64, "--set", "limits.sequences=2", "--trace", trace]  # fmt: skip
        process = subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE,
                                   env={**os.environ, "XDG_RUNTIME_DIR": str(self._place.runtime)})  # fmt: skip
        wait_until(lambda: len(children(process.pid)) == 3 or process.poll() is not None, "the stages are started")
        for pause in self._pauses(resets, 0.5):
            time.sleep(pause)
            if process.poll() is None:
                process.send_signal(signal.SIGUSR1)
        _, err = process.communicate(timeout=TIMEOUT_S)
        if process.returncode:
            raise CommandError(f"logits: exit status {process.returncode}: {err.decode()[-500:]}")
        slices = [e for e in json.loads(trace.read_text()) if e["ph"] == "X" and e["cat"] == "head"]
        return out.read_bytes(), sum(e["args"]["batch"] == 1 for e in slices)

    def resets_while_logits_are_made_change_no_byte(self) -> list[str]:
        expected, once = self._logits("undisturbed", 0)
        found = [] if once == 1 else [f"{once} epochs without a reset"]
        actual, epochs = self._logits("disturbed", 6)
        found += [] if actual == expected else ["the output differs"]
        return found + ([] if epochs >= 3 else [f"{epochs} epochs had batches"]) + self._place.left()


def main() -> int:
    parser = argparse.ArgumentParser(description="Resets in mid-run, at random moments.")
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD, else build/release)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the moments (default: the time)")
    parser.add_argument("--only", metavar="WORD", help="only facts whose name holds this")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    tally = Tally()
    record_all(tally, list(facts_of(Resets(build_folder(options.build), options.seed))), options.only)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
