#!/usr/bin/python3
"""What `penstock run` does when its processes are killed, stopped, missing, or interrupted.

After each fault: the exit status and the message name what happened, no process and no socket of the run is left, and
the same command goes on to the very bytes of a run that nothing disturbed. Each method of Faults is a fact; --only WORD
runs those whose names hold WORD.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from random import Random
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import ROOT, CommandError, build_folder  # noqa: E402
from e2e.runs import (  # noqa: E402
    Running, Workplace, answer_differences, answers, children, facts_of, lines, record_all, wait_until,
)  # fmt: skip
from reference.tally import Tally  # noqa: E402

SHAPE = ("--layers", 4, "--softmax-every", 4, "--hidden", 64, "--heads", 4, "--head-dim", 16, "--kv-heads", 2,
         "--rotary-dim", 8, "--inner", 64, "--experts", 4, "--positions", 65536)  # fmt: skip
DOCUMENTS = 8
# Two at a time, so that half way some requests have ended, some generate and some wait.
WORK = ("--set", "generation.max_tokens=250", "--set", "limits.sequences=2")
ENDLESS = ("--set", "generation.max_tokens=30000", "--set", "limits.sequences=2")
SILENT_S = 4
HUNG_S = 4
DEADLINES = ("--set", f"limits.silent_seconds={SILENT_S}", "--set", f"limits.hung_seconds={HUNG_S}")
GRACE_S = 2  # an end "at once": a process to kill or two, on a busy machine
STAGES = {
    "tokenize": "tokenize", "layers-0-1": "layers 0-1", "layers-2-3": "layers 2-3", "head": "head",
    "detokenize": "detokenize",
}  # fmt: skip


class Faults:
    def __init__(self, build: Path) -> None:
        self._place = Workplace(build, SHAPE, endless=True, cut=("0-1", "2-3"))
        self._place.write_documents(DOCUMENTS, 1200)
        undisturbed = self._run("undisturbed").expect(0)
        if undisturbed:
            raise CommandError("\n".join(undisturbed))
        self._answers = answers(self._place.folder / "undisturbed")

    def _start(self, out: str, options: tuple = WORK, **more) -> Running:
        return self._place.start(["docs"], out, *options, **more)

    def _run(self, out: str, **more):
        return self._start(out, **more).end()

    def _after(self, running: Running) -> list[str]:
        """Nothing of the run is left."""
        return running.left() + self._place.left()

    def _resumes(self, out: str) -> list[str]:
        """What has been written is good, and the same command brings the rest."""
        done = lines(self._place.folder / out / "results.jsonl")
        found = [f"not a line of the undisturbed run: {line[:90]!r}" for line in done if line not in self._answers["results.jsonl"]]
        found += self._run(out).expect(0, f"{DOCUMENTS} of {DOCUMENTS} requests done")
        kept = lines(self._place.folder / out / "results.jsonl")[: len(done)]
        found += [] if kept == done else ["results of before were written again"]
        return found + answer_differences(self._place.folder / out, self._answers) + self._place.left()

    def _stage_is_killed(self, name: str) -> list[str]:
        out = f"killed-{name}"
        running = self._start(out)
        running.await_results(1)
        pid = running.stage(name)
        os.kill(pid, signal.SIGKILL)
        ended = running.end(within_s=10)
        words = f"stage {name} ({STAGES[name]}, pid {pid}) died: signal 9 (Killed)"
        found = ended.expect(5, f"penstock: {words}", words + "; its last log lines:")
        return found + self._after(running) + self._resumes(out)

    def a_killed_tokenize_is_named_and_the_rest_resumes(self) -> list[str]:
        return self._stage_is_killed("tokenize")

    def killed_first_layers_are_named_and_the_rest_resumes(self) -> list[str]:
        return self._stage_is_killed("layers-0-1")

    def killed_last_layers_are_named_and_the_rest_resumes(self) -> list[str]:
        return self._stage_is_killed("layers-2-3")

    def a_killed_head_is_named_and_the_rest_resumes(self) -> list[str]:
        return self._stage_is_killed("head")

    def a_killed_detokenize_is_named_and_the_rest_resumes(self) -> list[str]:
        return self._stage_is_killed("detokenize")

    def all_stages_killed_at_once_is_one_failure(self) -> list[str]:
        running = self._start("massacre")
        running.await_results(2)
        for pid in running.stages().values():
            with contextlib.suppress(ProcessLookupError):  # the coordinator kills the others as soon as it sees one dead
                os.kill(pid, signal.SIGKILL)
        found = running.end(within_s=10).expect(5, "signal 9 (Killed)")
        return found + self._after(running) + self._resumes("massacre")

    def a_stage_killed_while_it_starts_is_named(self) -> list[str]:
        running = self._start("infant")
        wait_until(lambda: bool(children(running.process.pid)), "a first child")
        running.seen.update(pids := children(running.process.pid))
        os.kill(pids[0], signal.SIGKILL)
        found = running.end(within_s=10).expect(5, "stage tokenize (tokenize, pid", "signal 9 (Killed)")
        return found + self._after(running) + self._resumes("infant")

    def _libexec(self, name: str, change: Callable[[Path], None], stage: str = "head") -> Path:
        folder = Path(shutil.copytree(self._place.build / "libexec/penstock", self._place.folder / name))
        change(folder / f"penstock-{stage}")
        return folder

    def _program_fails(self, name: str, change: Callable[[Path], None], code: int, *words: str) -> list[str]:
        running = self._start(f"{name}-out", libexec=self._libexec(name, change))
        running.seen.update(children(running.process.pid))
        found = running.end(within_s=20).expect(code, *words)
        running.seen.add(running.process.pid)  # it may have ended before any stage was seen
        return found + self._after(running) + self._resumes(f"{name}-out")

    def a_missing_stage_program_is_named(self) -> list[str]:
        words = (f"start {self._place.folder}/missing/penstock-head: No such file", "stage head")
        return self._program_fails("missing", Path.unlink, 5, *words)

    def a_stage_program_that_is_not_executable_is_named(self) -> list[str]:
        words = (f"start {self._place.folder}/locked/penstock-head: Permission denied", "stage head")
        return self._program_fails("locked", lambda path: path.chmod(0o644), 5, *words)

    def a_stage_that_fails_shows_its_last_log_lines(self) -> list[str]:
        def break_it(path: Path) -> None:
            path.write_text("#!/bin/sh\nfor i in 1 2 3 4 5 6 7 8 9; do echo error number $i >&2; done\nexit 7\n")

        words = ("died: exit status 7; its last log lines:\n    error number 2\n", "    error number 9\n")
        return self._program_fails("broken", break_it, 5, "stage head (head, pid", *words)

    def a_stage_of_another_version_is_refused(self) -> list[str]:
        def replace(path: Path) -> None:
            shutil.copy(path.with_name("penstock-tokenize"), path)

        return self._program_fails("swapped", replace, 5, "stage head (head, pid", "were expected")

    def _drains(self, number: int) -> list[str]:
        out = f"drained-{number}"
        running = self._start(out)
        running.await_results(2)
        begun = len(lines(running.out / "results.jsonl"))
        running.signal(number)
        found = running.end().expect(75, "drained before the end; the same command goes on")
        done = len(lines(running.out / "results.jsonl"))
        found += [] if begun < done < DOCUMENTS else [f"{done} results, expected what was generating beside the first {begun}"]
        return found + self._after(running) + self._resumes(out)

    def one_interrupt_finishes_what_is_generating(self) -> list[str]:
        return self._drains(signal.SIGINT)

    def one_sigterm_finishes_what_is_generating(self) -> list[str]:
        return self._drains(signal.SIGTERM)

    def _stops(self, number: int, code: int) -> list[str]:
        running = self._start(f"stopped-{number}", ENDLESS)
        wait_until(lambda: len(running.stages()) == len(STAGES), "all stages stand")
        time.sleep(0.5)
        running.signal(number)
        time.sleep(0.5)
        found = [] if running.process.poll() is None else ["ended at the first signal"]
        running.signal(number)
        begin = time.monotonic()
        found += running.end(within_s=10).expect(code, "interrupted twice")
        took = time.monotonic() - begin
        return found + ([] if took < GRACE_S else [f"the end took {took:.1f} s"]) + self._after(running)

    def two_interrupts_stop_at_once(self) -> list[str]:
        return self._stops(signal.SIGINT, 130)

    def two_sigterms_stop_at_once(self) -> list[str]:
        return self._stops(signal.SIGTERM, 143)

    def an_interrupt_while_loading_stops_at_once(self) -> list[str]:
        """A stage that never says hello keeps the run loading."""

        def hang(path: Path) -> None:
            path.write_text("#!/bin/sh\nexec sleep 60\n")

        running = self._start("loading", libexec=self._libexec("hanging", hang))
        wait_until(lambda: len(children(running.process.pid)) == len(STAGES), "all stages are started")
        running.seen.update(children(running.process.pid))
        running.signal(signal.SIGINT)
        found = running.end(within_s=10).expect(130, "interrupted while the stages were loading")
        return found + self._after(running) + self._resumes("loading")

    def a_killed_coordinator_takes_its_stages_along(self) -> list[str]:
        running = self._start("orphans")
        running.await_results(2)
        running.signal(signal.SIGKILL)
        found = running.end().expect(-signal.SIGKILL) + running.left()
        return found + self._resumes("orphans")  # which also removes the dead run's sockets

    def a_coordinator_killed_while_loading_leaves_no_stage(self) -> list[str]:
        running = self._start("early")
        wait_until(lambda: len(children(running.process.pid)) >= 2, "some stages are started")
        running.seen.update(children(running.process.pid))
        running.signal(signal.SIGKILL)
        return running.end().expect(-signal.SIGKILL) + running.left() + self._resumes("early")

    def killed_again_and_again_it_still_ends(self) -> list[str]:
        for _ in range(3):
            running = self._start("again")
            running.stage("detokenize")
            running.await_results(len(lines(running.out / "results.jsonl")) + 1)
            running.signal(signal.SIGKILL)
            found = running.end().expect(-signal.SIGKILL) + running.left()
            if found:
                return found
        return self._resumes("again")

    def documents_edited_between_two_runs_are_done_anew(self) -> list[str]:
        """Drained; then a done document is edited, another one only touched; the same command."""
        documents = self._place.write_documents(DOCUMENTS, 1200, "edited")
        running = self._place.start(["edited"], "edits", *WORK)
        running.await_results(2)
        running.signal(signal.SIGINT)
        found = running.end().expect(75)
        done = [json.loads(line)["custom_id"] for line in lines(running.out / "results.jsonl")]
        changed, same = documents / done[0].split("/")[1].split("#")[0], documents / done[1].split("/")[1].split("#")[0]
        changed.write_text("Another text altogether. " * 20)
        same.write_text(same.read_text())
        ended = self._place.run(["edited"], "edits", *WORK)
        found += ended.expect(0, f"edited/{changed.name}#1: what it read has changed since it ended; it is done anew",
                              f"{DOCUMENTS} of {DOCUMENTS} requests done")  # fmt: skip
        found += [f"said {ended.err.count('done anew')} times"] if ended.err.count("done anew") != 1 else []
        found += self._place.run(["edited"], "edits-fresh", *WORK).expect(0)
        return found + answer_differences(running.out, answers(self._place.folder / "edits-fresh")) + self._place.left()

    def a_document_that_is_gone_or_back_is_done_anew(self) -> list[str]:
        place, document = self._place, self._place.write_documents(1, 600, "single") / "part-0.txt"
        text = document.read_text()
        found = place.run(["single/part-0.txt"], "gone", *WORK).expect(0)
        first = answers(place.folder / "gone")
        document.unlink()
        found += place.run(["single/part-0.txt"], "gone", *WORK).expect(3, "single/part-0.txt#1: what it read has changed")
        found += [] if lines(place.folder / "gone/results.jsonl") == [] else ["the old answer is still there"]
        found += [f"{path.name} is still there" for path in (place.folder / "gone").glob("*.md")]
        document.write_text(text)
        found += place.run(["single/part-0.txt"], "gone", *WORK).expect(0, "single/part-0.txt#1: what it read has changed")
        return found + answer_differences(place.folder / "gone", first)

    def standard_input_that_changed_is_done_anew(self) -> list[str]:
        found = self._place.run(["-"], "in", *WORK, stdin=b"One text.").expect(0)
        first = answers(self._place.folder / "in")
        again = self._place.run(["-"], "in", *WORK, stdin=b"One text.")
        found += again.expect(0) + (["said to have changed"] if "anew" in again.err else [])
        found += self._place.run(["-"], "in", *WORK, stdin=b"Another text.").expect(0, "stdin#1: what it read has changed")
        found += self._place.run(["-"], "in-fresh", *WORK, stdin=b"Another text.").expect(0)
        found += [] if answers(self._place.folder / "in") != first else ["the old answer is still there"]
        return found + answer_differences(self._place.folder / "in", answers(self._place.folder / "in-fresh"))

    def a_coordinator_killed_before_its_summary_gets_one_later(self) -> list[str]:
        for attempt in range(10):
            out = f"unsummed-{attempt}"
            running = self._start(out)
            while len(lines(running.out / "results.jsonl")) < DOCUMENTS and running.process.poll() is None:
                running.stages()
            running.kill()
            if len(lines(running.out / "results.jsonl")) == DOCUMENTS and not (running.out / "summary.json").exists():
                break
        else:
            return ["the summary was always there first"]
        ended = self._run(out)
        found = ended.expect(0, f"{DOCUMENTS} of {DOCUMENTS} requests done")  # starts no stage, so sweeps no sockets
        if found:
            return found
        found += answer_differences(running.out, self._answers)
        summary = json.loads((running.out / "summary.json").read_text())
        counts = [summary[key] for key in ("requests", "done", "failed", "left")]
        return found + ([] if counts == [DOCUMENTS, DOCUMENTS, 0, 0] else [f"the summary counts {counts}"])

    def sockets_of_a_running_coordinator_stay(self) -> list[str]:
        """Another run's start removes what the dead left, not what the living use."""
        living = self._start("living", ENDLESS)
        living.stage("head")
        (mine,) = self._place.socket_folders()
        found = self._run("beside").expect(0)
        found += [] if self._place.socket_folders() == [mine] else [f"{mine} is gone"]
        found += [] if living.process.poll() is None else ["the living run ended"]
        living.kill()
        return found + self._run("beside").expect(0) + self._run("after").expect(0) + self._place.left()

    def a_pause_of_each_stage_is_no_alarm(self) -> list[str]:
        running = self._start("paused")
        running.await_results(1)
        for name in STAGES:
            pid = running.stages().get(name)
            if pid is None:
                break
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.5 if name != "layers-2-3" else 2)
            os.kill(pid, signal.SIGCONT)
        else:
            found = running.end().expect(0)
            return found + answer_differences(running.out, self._answers) + self._after(running)
        return running.end().expect(0) + ["the run ended before all stages were paused"]

    def a_coordinator_that_slept_raises_no_alarm(self) -> list[str]:
        running = self._start("slept", (*WORK, *DEADLINES))
        running.await_results(1)
        running.signal(signal.SIGSTOP)
        time.sleep(max(SILENT_S, HUNG_S) + 2)
        running.signal(signal.SIGCONT)
        return running.end().expect(0) + answer_differences(running.out, self._answers) + self._after(running)

    def an_answer_that_is_lost_is_missed_by_its_number(self) -> list[str]:
        """The last one: no other comes behind it that would show the gap."""
        text = (ROOT / "examples/stages/detokenize.py").read_text()
        sends = "self._next.send_multipart(split(header, piece))"

        def lose(path: Path) -> None:
            path.unlink()
            path.write_text(text.replace(sends, f"if number < {DOCUMENTS}: {sends}"))
            path.chmod(0o755)

        running = self._start("lost", libexec=self._libexec("lossy", lose, "detokenize"))
        running.await_results(DOCUMENTS - 1)
        found = running.end(within_s=60).expect(5, "stage detokenize (detokenize, pid", "has sent batches that did not come: they were lost")
        return found + self._after(running) + self._resumes("lost")

    def a_stage_stopped_for_ever_is_silent(self) -> list[str]:
        running = self._start("silent", (*WORK, *DEADLINES))
        running.await_results(1)
        pid = running.stage("layers-2-3")
        os.kill(pid, signal.SIGSTOP)
        begin = time.monotonic()
        ended = running.end(within_s=SILENT_S + 10)
        took = time.monotonic() - begin
        found = ended.expect(5, f"stage layers-2-3 (layers 2-3, pid {pid}) is silent: no beat for {SILENT_S} s")
        found += [] if SILENT_S - 2 < took < SILENT_S + 3 else [f"found after {took:.1f} s"]
        with contextlib.suppress(ProcessLookupError):  # should it still be there, it wakes and must not matter
            os.kill(pid, signal.SIGCONT)
        return found + self._after(running) + self._resumes("silent")

    def _faulty(self, fault: str, stage: str) -> Path:
        """The stage programs, one of which goes wrong (tests/faulty/stage.c)."""
        folder = self._place.folder / f"{fault}-{stage}"
        if not folder.exists():
            shutil.copytree(self._place.build / "libexec/penstock", folder)
            shutil.copy(self._place.build / f"faulty/{fault}/libexec/penstock/penstock-{stage}", folder)
        return folder

    def _stage_hangs(self, program: str, name: str) -> list[str]:
        out = f"hung-{program}"
        running = self._start(out, (*WORK, *DEADLINES), libexec=self._faulty("hang", program))
        pid = running.stage(name)
        begin = time.monotonic()
        ended = running.end(within_s=HUNG_S + 20)
        took = time.monotonic() - begin
        found = ended.expect(5, f"stage {name} ({STAGES[name]}, pid {pid}) hangs: no progress for {HUNG_S} s")
        found += [] if HUNG_S - 2 < took < HUNG_S + 6 else [f"found after {took:.1f} s"]
        return found + self._after(running) + self._resumes(out)

    def layers_that_hang_while_they_beat_are_named(self) -> list[str]:
        return self._stage_hangs("layers", "layers-0-1")

    def a_head_that_hangs_while_it_beats_is_named(self) -> list[str]:
        return self._stage_hangs("head", "head")

    def a_tokenize_that_hangs_while_it_beats_is_named(self) -> list[str]:
        return self._stage_hangs("tokenize", "tokenize")

    def a_detokenize_that_hangs_while_it_beats_is_named(self) -> list[str]:
        return self._stage_hangs("detokenize", "detokenize")

    def a_text_that_takes_long_to_tokenize_is_no_hang(self) -> list[str]:
        """One word of 24 MiB takes twice the deadline and more; what counts is that it goes on."""
        random = Random(1)
        (self._place.folder / "word.txt").write_text("".join(random.choices("etaoinshrdlu", k=24 << 20)))
        begin = time.monotonic()
        ended = self._place.run(["word.txt"], "word", "--set", "limits.hung_seconds=2")
        took = time.monotonic() - begin
        found = ended.expect(3) + self._place.left()
        errors = (self._place.folder / "word/errors.jsonl").read_text()
        found += [] if "context_length_exceeded" in errors else [errors or "no error"]
        return found + ([] if took > 2.5 else [f"it took {took:.1f} s only: a hang would not have been found"])

    def a_flood_of_log_lines_is_cut_and_changes_no_answer(self) -> list[str]:
        running = self._start("flooded", libexec=self._faulty("flood", "head"))
        running.stage("head")
        found = running.end().expect(0, "head: warn log cut lines=")
        logs = running.out / ".penstock/logs"
        size, cut = sum(path.stat().st_size for path in logs.glob("head.log*")), (logs / "head.log").read_text().count(" warn log cut lines=")
        found += [] if cut else ["its log does not say that it was cut"]
        found += [] if size < 70 << 20 else [f"its log has {size} bytes"]
        return found + self._after(running) + answer_differences(running.out, self._answers)

    def sigterm_at_any_moment_drains_and_two_stop(self) -> list[str]:
        """At moments of the run's whole life, its start included; the printed seed draws them."""
        seed = int.from_bytes(os.urandom(4), "little")
        random, found = Random(seed), []
        for number in range(6):
            out = f"any-moment-{number}"
            running = self._start(out)
            time.sleep(random.uniform(0, 1.2))
            running.seen.update(children(running.process.pid))
            twice = number % 2
            running.signal(signal.SIGTERM)
            if twice:
                time.sleep(random.uniform(0, 0.2))
                with contextlib.suppress(ProcessLookupError):
                    running.signal(signal.SIGTERM)
            ended = running.end(within_s=60)
            # -15: before there was a pipeline to stop; 0: it was over; 130, 143: while loading, or the second
            good = (0, 75, 143, -signal.SIGTERM) if not twice else (0, 75, 130, 143, -signal.SIGTERM)
            found += [] if ended.code in good else [f"seed {seed}, run {number}: exit status {ended.code}", ended.err[-500:]]
            found += (running.left() if running.seen else []) + self._place.left() + self._resumes(out)
        return found

    def a_closed_stdout_is_a_failing_disk(self) -> list[str]:
        """Result lines go to a pipe that nobody reads any more: nothing is remembered, so that nothing is half done."""
        running = self._place.start(["docs"], "-", *WORK)
        running.process.stdout.close()
        running.process.stdout = None
        running.stage("head")
        ended = running.end(within_s=60)
        return ended.expect(74, "standard output") + running.left() + self._place.left()


def main() -> int:
    parser = argparse.ArgumentParser(description="Faults of penstock run, by real signals.")
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD, else build/release)")
    parser.add_argument("--only", metavar="WORD", help="only facts whose name holds this")
    options = parser.parse_args()
    tally = Tally()
    try:
        faults = Faults(build_folder(options.build))
    except CommandError as error:
        tally.record("an_undisturbed_run_ends_well", [str(error)])
        return tally.finish()
    record_all(tally, list(facts_of(faults)), options.only)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
