#!/usr/bin/python3
"""A live run seen and told from outside: ps, top, logs, jobs, drain, stop, metrics.prom, and strangers at its console.

Each method of Live is a fact; --only WORD runs those whose names hold WORD.
"""
from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import msgpack
import zmq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import TIMEOUT_S, CommandError, build_folder  # noqa: E402
from e2e.runs import (  # noqa: E402
    Ended, Running, Workplace, answer_differences, answers, facts_of, lines, record_all, wait_until,
)  # fmt: skip
from reference.tally import Tally  # noqa: E402

SHAPE = ("--layers", 4, "--softmax-every", 4, "--hidden", 64, "--heads", 4, "--head-dim", 16, "--kv-heads", 2,
         "--rotary-dim", 8, "--inner", 64, "--experts", 4, "--positions", 65536)  # fmt: skip
DOCUMENTS = 6
WORK = ("--set", "generation.max_tokens=250", "--set", "limits.sequences=2")
ENDLESS = ("--set", "generation.max_tokens=30000", "--set", "limits.sequences=2")
STAGES = ["tokenize", "layers-0-1", "layers-2-3", "head", "detokenize"]
PROMETHEUS_LINE = re.compile(
    r'# HELP ([a-z_]+) \S.*|# TYPE ([a-z_]+) (?:gauge|counter)|([a-z_]+)(?:\{[a-z]+="[a-z0-9-]*"(?:,[a-z]+="[a-z0-9-]*")*\})? [0-9.e+-]+'
)


class Live:
    def __init__(self, build: Path) -> None:
        self._place = Workplace(build, SHAPE, endless=True, cut=("0-1", "2-3"))
        self._place.write_documents(DOCUMENTS, 1200)
        undisturbed = self._start("undisturbed").end().expect(0)
        if undisturbed:
            raise CommandError("\n".join(undisturbed))
        self._answers = answers(self._place.folder / "undisturbed")

    def _start(self, out: str, options: tuple = WORK, **more) -> Running:
        return self._place.start(["docs"], out, *options, **more)

    def _started(self, out: str, options: tuple = ENDLESS, **more) -> Running:
        """All of its stages stand and its console answers."""
        running = self._start(out, options, **more)
        running.stage(STAGES[-1])
        wait_until(lambda: (running.out / ".penstock/console").exists(), "the console is there")
        wait_until(lambda: self._status(out)["state"] == "running", "the run is at work")
        return running

    def _ask(self, *words: object) -> Ended:
        done = subprocess.run(
            list(map(str, [self._place.command.binary, *words])), cwd=self._place.folder, capture_output=True, text=True,
            timeout=TIMEOUT_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr)

    def _status(self, out: str) -> dict:
        asked = self._ask("ps", "--run", out, "--json")
        if asked.code:
            raise CommandError(f"ps: {asked.err}")
        return json.loads(asked.out)

    def _after(self, running: Running) -> list[str]:
        """Nothing of the run is left, its pointer included."""
        pointer = running.out / ".penstock/console"
        return running.left() + self._place.left() + ([f"{pointer} is left"] if pointer.exists() else [])

    def _stopped(self, running: Running) -> list[str]:
        """Ends a run that would not end by itself."""
        asked = self._ask("stop", "--run", running.out.name)
        return asked.expect(0, "penstock: the run stops") + running.end(10).expect(143) + self._after(running)

    def ps_shows_every_process(self) -> list[str]:
        running = self._started("ps")
        table = self._ask("ps", "--run", "ps")
        found = table.expect(0)
        names = [line.split()[0] for line in table.out.splitlines()]
        found += [] if names == ["STAGE", "penstock", *STAGES] else [f"rows {names}"]
        status = self._status("ps")
        by_name = {process["name"]: process for process in status["processes"]}
        stages = running.stages()
        found += [f"{name}: pid {by_name[name]['pid']}, {pid} was seen" for name, pid in stages.items() if by_name[name]["pid"] != pid]
        found += [f"{p['name']}: no memory" for p in status["processes"] if not p["resident_bytes"]]
        found += [] if by_name["layers-2-3"]["layers"] == "2-3" else ["layers-2-3 does not hold layers 2-3"]
        wait_until(lambda: all(p["batches"] for p in self._status("ps")["processes"] if p["kind"] in ("layers", "head")), "batches count")
        found += [] if status["requests"] == DOCUMENTS and status["window"] else [f"{status}"]
        return found + self._stopped(running)

    def a_stopped_process_is_shown_as_such(self) -> list[str]:
        running = self._started("sleeper")
        pid = running.stage("head")
        try:
            wait_until(lambda: self._status("sleeper")["processes"][4]["state"] in ("working", "waiting"), "head is seen at work")
            subprocess.run(["kill", "-STOP", str(pid)], check=True)
            wait_until(lambda: self._status("sleeper")["processes"][4]["state"] == "stopped", "head is seen as stopped", 5)
        finally:
            subprocess.run(["kill", "-CONT", str(pid)], check=True)
        return self._stopped(running)

    def ps_of_an_ended_run_shows_what_it_left(self) -> list[str]:
        asked = self._ask("ps", "--run", "undisturbed")
        found = asked.expect(0, 'no run is live in undisturbed/.penstock; its state was "done" at 20')
        rows = {line.split()[0]: line.split() for line in asked.out.splitlines()}
        found += [] if set(rows) == {"STAGE", "penstock", *STAGES} else [f"rows {sorted(rows)}"]
        status = self._status("undisturbed")
        head = status["processes"][4]
        found += [] if head["batches"] > 0 and head["state"] == "ended" else [f"head: {head}"]
        return found + ([] if status["ended"] == DOCUMENTS == status["requests"] else [f"{status}"])

    def ps_of_a_killed_run_says_that_none_is_live(self) -> list[str]:
        running = self._started("killed")
        running.signal(signal.SIGKILL)
        found = running.end().expect(-signal.SIGKILL) + running.left()
        found += self._ask("ps", "--run", "killed").expect(0, "no run is live in killed/.penstock; its state was")
        return found + self._ask("drain", "--run", "killed").expect(2, "penstock: no run is live in killed/.penstock")

    def a_command_without_a_run_says_what_it_expected(self) -> list[str]:
        found = self._ask("ps", "--run", "docs").expect(2, "docs: a run's output directory was expected (one with .penstock)")
        found += self._ask("stop", "--run", "nowhere").expect(2, "nowhere: a run's output directory was expected")
        return found + self._ask("stop", "--run", "undisturbed").expect(2, "no run is live in undisturbed/.penstock")

    def a_graph_of_a_run_says_what_its_processes_do(self) -> list[str]:
        running = self._started("drawn")
        wait_until(lambda: self._status("drawn")["processes"][4]["rows"] > 0, "the head has rows")
        live = self._ask("graph", "--run", "drawn")
        found = live.expect(0) + ([] if re.search(r"[1-9]\d* rows, busy \d+ %", live.out) else [live.out])
        found += self._stopped(running)
        over = self._ask("graph", "--run", "drawn", "--json")
        nodes = {node["name"]: node for node in json.loads(over.out)["nodes"]}
        found += over.expect(0) + [f"{name}: {nodes[name]}" for name in STAGES if "rows, busy" not in nodes[name]["live"][1]]
        return found + self._ask("graph", "--run", "nowhere").expect(2, "nowhere: a run's output directory was expected")

    def drain_is_the_first_interrupt(self) -> list[str]:
        running = self._start("drained")
        running.await_results(1)
        found = self._ask("drain", "--run", "drained").expect(0, "the run finishes what is generating")
        self._ask("drain", "--run", "drained")  # a second one, when it comes in time, is no second interrupt
        found += running.end().expect(75, "drained before the end; the same command goes on") + self._after(running)
        found += [] if self._status("drained")["state"] == "drained" else ["its last state is not drained"]
        found += self._start("drained").end().expect(0)
        return found + answer_differences(running.out, self._answers) + self._place.left()

    def stop_is_the_second_interrupt(self) -> list[str]:
        running = self._started("stopped")
        found = self._stopped(running)
        return found + ([] if self._status("stopped")["state"] == "stopped" else ["its last state is not stopped"])

    def logs_are_merged_in_the_order_of_time(self) -> list[str]:
        asked = self._ask("logs", "--run", "undisturbed")
        rows = [re.fullmatch(r"(\S+) +\| (\S+Z) info ready kind=.*", line) for line in asked.out.splitlines()]
        found = asked.expect(0) + ([] if all(rows) else [asked.out])
        times = [row[2] for row in rows if row]
        found += [] if sorted(row[1] for row in rows if row) == sorted(STAGES) and times == sorted(times) else [asked.out]
        one = self._ask("logs", "head", "--run", "undisturbed", "--json")
        line = json.loads(one.out)
        found += [] if line["stage"] == "head" and line["line"].startswith("info ready kind=head") else [one.out]
        last = self._ask("logs", "--run", "undisturbed", "--tail", "2")
        found += [] if last.out.splitlines() == asked.out.splitlines()[-2:] else [f"--tail 2: {last.out}"]
        refused = self._ask("logs", "heap", "--run", "undisturbed")
        return found + refused.expect(2, "no stage heap has a log there, expected one of: detokenize, head, layers-0-1")

    def logs_are_followed_until_the_run_ends(self) -> list[str]:
        """A rotated file, a line that comes in two parts, bytes that would steer a terminal."""
        running = self._started("followed")
        words = [self._place.command.binary, "logs", "head", "--run", "followed", "--follow"]
        follower = subprocess.Popen(list(map(str, words)), cwd=self._place.folder, stdout=subprocess.PIPE, text=True)
        log = running.out / ".penstock/logs/head.log"
        begun = follower.stdout.readline()
        with log.open("a") as file:
            file.write("2026-11-24T00:00:00.000Z warn first")
            file.flush()
            time.sleep(0.5)
            file.write(" part\x1b[2J\n")
        log.rename(log.with_name("head.log.1"))
        log.write_text("2026-11-24T00:00:01.000Z warn new file\n")
        seen = [follower.stdout.readline() for _ in range(2)]
        found = self._stopped(running)
        follower.wait(timeout=5)
        found += [] if "info ready" in begun else [begun]
        found += [] if [line.split("Z ")[1] for line in seen] == ["warn first part?[2J\n", "warn new file\n"] else seen
        return found + ([] if follower.returncode == 0 else [f"logs --follow: exit status {follower.returncode}"])

    def jobs_shows_every_request_live_killed_and_over(self) -> list[str]:
        def states(out: str) -> dict[str, str]:
            asked = self._ask("jobs", "--run", out, "--json")
            if asked.code:
                raise CommandError(f"jobs: {asked.err}")
            return {job["id"]: job["state"] for job in map(json.loads, asked.out.splitlines())}

        expected = {f"docs/part-{i}.txt#1" for i in range(DOCUMENTS)}
        running = self._start("jobs")
        running.await_results(1)
        live = states("jobs")
        running.signal(signal.SIGKILL)
        found = running.end().expect(-signal.SIGKILL) + running.left()
        before = sorted(path.name for path in (running.out / ".penstock").iterdir())
        killed = states("jobs")
        after = sorted(path.name for path in (running.out / ".penstock").iterdir())
        found += [] if before == after else [f"files before {before}, after {after}"]
        found += self._start("jobs").end().expect(0) + answer_differences(running.out, self._answers)
        over = states("jobs")
        found += [] if set(live) == set(killed) == set(over) == expected else [f"{live} {killed} {over}"]
        found += [] if {"done", "running"} <= set(live.values()) else [f"live: {live}"]
        found += [] if set(killed.values()) == {"done", "queued"} and set(over.values()) == {"done"} else [f"killed: {killed}, over: {over}"]
        table = self._ask("jobs", "--run", "jobs")
        return found + ([] if table.out.splitlines()[0] == "done       docs/part-0.txt#1" else [table.out]) + self._place.left()

    def top_without_a_terminal_is_text_until_the_run_ends(self) -> list[str]:
        running = self._started("top")
        once = self._ask("top", "--run", "top", "--once")
        found = once.expect(0)
        words = ("running for", "requests ended", "prefill", "tokens/s", "queue", "window", "STAGE", "layers-2-3")
        found += [f"--once does not say {word!r}" for word in words if word not in once.out]
        follower = subprocess.Popen(
            [str(self._place.command.binary), "top", "--run", "top", "--interval", "0.2"], cwd=self._place.folder,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        follower.stdout.readline()
        found += self._stopped(running)
        rest = follower.communicate(timeout=10)[0]
        found += [] if follower.returncode == 0 and "no run is live in top/.penstock" in rest else [rest[-300:]]
        status = json.loads(self._ask("top", "--run", "undisturbed", "--json").out)
        return found + ([] if status["state"] == "done" else [f"{status}"])

    def top_on_a_terminal_is_a_screen(self) -> list[str]:
        running = self._started("screen")
        main, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
        words = [str(self._place.command.binary), "top", "--run", "screen", "--interval", "0.2"]
        viewer = subprocess.Popen(words, cwd=self._place.folder, stdin=other, stdout=other, env={**os.environ, "TERM": "xterm"})
        os.close(other)
        screen = b""
        while b"q: leave" not in screen and len(screen) < 1 << 20:
            screen += os.read(main, 4096)
        os.write(main, b"q")
        with contextlib.suppress(OSError):  # EIO: it has closed its end
            while part := os.read(main, 4096):
                screen += part
        viewer.wait(timeout=5)
        os.close(main)
        found = [] if viewer.returncode == 0 and b"\x1b[?1049h" in screen and b"\x1b[?1049l" in screen else [repr(screen[-200:])]
        found += [] if b"layers-2-3" in screen else ["no stage is on it"]
        found += [] if running.process.poll() is None else ["the run ended with it"]
        return found + self._stopped(running)

    def progress_is_one_line_on_a_terminal_and_plain_elsewhere(self) -> list[str]:
        plain = self._start("plain", (*WORK, "--set", "generation.max_tokens=4000")).end()
        shape = r"\d/6 requests, prefill \d+ %, \d+ answer tokens, \d+ tokens/s, ETA (?:\d+:\d\d|-)"
        found = plain.expect(0)
        found += [] if re.search(f"^{shape}$", plain.err, re.MULTILINE) and "\x1b" not in plain.err else [plain.err]
        main, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 110, 0, 0))
        words = [self._place.command.binary, "run", "docs", "-m", self._place.model, "-q", "x", "-o", "lined", *WORK]
        runner = subprocess.Popen(
            list(map(str, words)), cwd=self._place.folder, stderr=other, stdin=subprocess.DEVNULL,
            env={**os.environ, "TERM": "xterm", "NO_COLOR": "1", "XDG_RUNTIME_DIR": str(self._place.runtime)},
        )  # fmt: skip
        os.close(other)
        said = b""
        with contextlib.suppress(OSError):
            while part := os.read(main, 4096):
                said += part
        found += [] if runner.wait(timeout=30) == 0 else [f"exit status {runner.returncode}"]
        found += [] if re.search(rf"\r\[[=> ]{{20}}\] {shape}\x1b\[K".encode(), said) else [repr(said[-400:])]
        return found + ([] if not re.search(rb"\x1b\[[0-9;]*m", said) else ["a colour"])

    def metrics_are_prometheus_text(self) -> list[str]:
        text = (self._place.folder / "undisturbed/.penstock/metrics.prom").read_text()
        found, helped, typed, values = [], set(), set(), {}
        for line in text.splitlines():
            match = PROMETHEUS_LINE.fullmatch(line)
            if not match:
                found.append(f"does not parse: {line}")
                continue
            helped.add(match[1])
            typed.add(match[2])
            if match[3]:
                found += [] if match[3] in helped & typed else [f"{match[3]} without HELP and TYPE above it"]
                values[line.rpartition(" ")[0]] = float(line.rpartition(" ")[2])
        results = [json.loads(line) for line in lines(self._place.folder / "undisturbed/results.jsonl")]
        tokens = sum(result["response"]["body"]["usage"]["completion_tokens"] for result in results)
        expected = {
            'penstock_run_state{state="done"}': 1, "penstock_requests": DOCUMENTS, "penstock_requests_ended_total": DOCUMENTS,
            "penstock_requests_failed_total": 0, "penstock_answer_tokens_total": tokens,
            'penstock_process_up{process="head",kind="head"}': 0,
        }  # fmt: skip
        found += [f"{name} is {values.get(name)}, expected {value}" for name, value in expected.items() if values.get(name) != value]
        return found + ([] if text.endswith("\n") else ["no newline at the end"])

    def strangers_at_the_console_are_refused_and_harm_nobody(self) -> list[str]:
        running = self._started("strangers", WORK)
        pointer = (running.out / ".penstock/console").read_text().splitlines()
        context = zmq.Context()
        socket = context.socket(zmq.DEALER)
        socket.linger = 0
        socket.connect(f"ipc://{pointer[0]}")
        rubbish = [b"", b"\xff" * 200, b"status", msgpack.packb({"verb": "stop"}), msgpack.packb([1, "paint", 0]), msgpack.packb([9, "stop", 0])]
        refusals = []
        for frame in rubbish:
            socket.send(frame)
            refusals.append(msgpack.unpackb(socket.recv()) if socket.poll(5000) else None)
        found = [f"{frame!r}: {said}" for frame, said in zip(rubbish, refusals) if not (said and said[1] and said[2])]
        for _ in range(200):  # who asks and does not wait for the answers
            socket.send(msgpack.packb([1, "status", 0]))
        socket.send(b"x" * 1000)
        context.destroy(linger=0)
        refused = self._status("strangers")["console"]["refused"]
        found += [] if refused >= len(rubbish) else [f"{refused} were counted as refused"]
        found += running.end().expect(0) + self._after(running)
        return found + answer_differences(running.out, self._answers)


def main() -> int:
    parser = argparse.ArgumentParser(description="A live run from outside.")
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD, else build/release)")
    parser.add_argument("--only", metavar="WORD", help="only facts whose name holds this")
    options = parser.parse_args()
    tally = Tally()
    try:
        live = Live(build_folder(options.build))
    except CommandError as error:
        tally.record("an_undisturbed_run_ends_well", [str(error)])
        return tally.finish()
    record_all(tally, list(facts_of(live)), options.only)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
