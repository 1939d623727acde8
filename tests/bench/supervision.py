#!/usr/bin/python3
"""What supervising a run costs: start-up, the coordinator's idle time, the console's latency; each beside its limit.

    tests/bench/supervision.py [--build DIR] [--rounds N] [--idle-seconds N] [--questions N] [--json]

A pipeline of 8 processes (the coordinator, tokenize, four `layers` stages, head, detokenize) over a small random model.

start-up   from the start of the command until the last stage is ready, less that stage's load: its ready line in the log
           says when and how long it loaded. The median over the rounds; and the processor time of all processes from the
           start to the end of such a run, of which a disturbed machine can be believed.
idle       the coordinator's processor time, in parts of one core, while its window is full and a stopped stage lets nothing
           through: beats, polls and the files for those who look on go on.
console    questions (`status`) to a run at work, one after the other over one connection; median and maximum.

Timings want a quiet machine: the load average is printed with them. Exit status 1: a limit was exceeded.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import msgpack
import zmq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import build_folder  # noqa: E402
from e2e.runs import Running, Workplace, wait_until  # noqa: E402

SHAPE = ("--layers", 4, "--softmax-every", 4, "--hidden", 256, "--heads", 4, "--head-dim", 64, "--kv-heads", 2,
         "--rotary-dim", 32, "--inner", 256, "--experts", 4, "--positions", 65536)  # fmt: skip
PIPELINE = """version: 1
limits: {{ silent_seconds: 600, hung_seconds: 600, sequences: 4 }}
generation: {{ max_tokens: {answer} }}
stages:
  - {{ kind: tokenize }}
  - {{ name: l0, kind: layers, layers: 0, threads: 1 }}
  - {{ name: l1, kind: layers, layers: 1, threads: 1 }}
  - {{ name: l2, kind: layers, layers: 2, threads: 1 }}
  - {{ name: l3, kind: layers, layers: 3, threads: 1 }}
  - {{ kind: head, threads: 1 }}
  - {{ kind: detokenize }}
"""
STAGES = 7
READY = re.compile(r"(\S+)Z info ready .*load_ms=(\d+)$", re.MULTILINE)
STARTUP_LIMIT_S, IDLE_LIMIT = 0.150, 0.001


def processor_ns(pid: int) -> int:
    """Of all threads, to the nanosecond."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


def settle(place: Workplace, out: str, answer: int) -> Running:
    """A run whose stages all stand, and that has been at work for a while."""
    pipeline = place.write_pipeline(f"{out}.yaml", PIPELINE.format(answer=answer))
    running = place.start(["docs"], out, pipeline=pipeline)
    wait_until(lambda: len(running.stages()) == STAGES, "all stages stand")
    wait_until(lambda: (running.out / ".penstock/console").exists(), "the console is there")
    return running


def startup_seconds(place: Workplace, number: int) -> tuple[float, float]:
    """Start-up less load, and processor time."""
    out = f"startup-{number}"
    pipeline = place.write_pipeline("startup.yaml", PIPELINE.format(answer=1))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.time()
    running = place.start(["docs/part-0.txt"], out, pipeline=pipeline)
    ended = running.end()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.code:
        raise SystemExit(f"the run ended with {ended.code}: {ended.err}")
    logs = "".join(path.read_text() for path in (running.out / ".penstock/logs").glob("*.log"))
    ready = [(datetime.fromisoformat(stamp + "+00:00").timestamp(), int(load) / 1e3) for stamp, load in READY.findall(logs)]
    if len(ready) != STAGES:
        raise SystemExit(f"{len(ready)} stages said that they are ready, {STAGES} were expected")
    last, load = max(ready)
    return last - begin - load, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def idle_part(place: Workplace, seconds: float) -> float:
    running = settle(place, "idle", 60000)
    stopped = running.stage("l3")
    time.sleep(1)
    os.kill(stopped, signal.SIGSTOP)
    try:
        time.sleep(2)  # until the window is full
        begin, before = time.monotonic(), processor_ns(running.process.pid)
        time.sleep(seconds)
        return (processor_ns(running.process.pid) - before) / 1e9 / (time.monotonic() - begin)
    finally:
        running.kill()


def console_seconds(place: Workplace, questions: int) -> list[float]:
    running = settle(place, "console", 60000)
    took = []
    try:
        socket = zmq.Context.instance().socket(zmq.DEALER)
        socket.linger = 0
        socket.connect("ipc://" + (running.out / ".penstock/console").read_text().splitlines()[0])
        time.sleep(1)
        for _ in range(questions):
            begin = time.monotonic()
            socket.send(msgpack.packb([1, "status", 0]))
            if not socket.poll(10000):
                raise SystemExit("the console does not answer within 10 s")
            answer = msgpack.unpackb(socket.recv())
            took.append(time.monotonic() - begin)
            if answer[1] or json.loads(answer[2])["state"] != "running":
                raise SystemExit(f"the run is not at work: {answer}")
            time.sleep(0.01)
    finally:
        running.kill()
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD, else build/release)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--idle-seconds", type=float, default=20)
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    place = Workplace(build_folder(given.build), SHAPE, endless=True)
    place.write_documents(4, 400)  # a start is measured with one of them
    startups, processor = zip(*(startup_seconds(place, i) for i in range(given.rounds)))
    idle = idle_part(place, given.idle_seconds)
    console = console_seconds(place, given.questions)
    figures = [
        {"name": "start-up to ready less load, 8 processes", "value": statistics.median(startups), "unit": "s",
         "limit": STARTUP_LIMIT_S, "min": min(startups), "max": max(startups), "rounds": len(startups)},
        {"name": "processor time of a run of one token", "value": statistics.median(processor), "unit": "s", "limit": None,
         "min": min(processor), "max": max(processor), "rounds": len(processor)},
        {"name": "coordinator's idle processor time", "value": idle, "unit": "of one core", "limit": IDLE_LIMIT, "rounds": 1},
        {"name": "console, answer to a question at work", "value": statistics.median(console), "unit": "s", "limit": None,
         "min": min(console), "max": max(console), "rounds": len(console)},
    ]  # fmt: skip
    if given.json:
        print(json.dumps(figures, indent=1))
    else:
        print(f"load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
        for f in figures:
            spread = f", min {f['min']:.6f}, max {f['max']:.6f}" if "min" in f else ""
            limit = f" (limit {f['limit']})" if f["limit"] else ""
            print(f"{f['name']:44s} {f['value']:.6f} {f['unit']}{limit}{spread}, {f['rounds']} rounds")
    return int(any(f["limit"] and f["value"] > f["limit"] for f in figures))


if __name__ == "__main__":
    sys.exit(main())
