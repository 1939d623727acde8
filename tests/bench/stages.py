#!/usr/bin/python3
"""Prefill and decode of a synthetic model through real processes, beside what the machine can do at most.

    tests/bench/stages.py [--build DIR] [--model DIR] [--rounds N] [--tokens N] [--batch-rows N] [--prefill-only]
                         [--others CORES] [--patience SECONDS] [--json]

Every round runs three pipelines one after the other, in an order that moves on: one `layers` stage with one thread, two
with one thread each, and one with two threads; the limits (chains of multiply-adds in registers, a plain read loop) are
measured again in each. Times are those of the batches in the stages' own timeline (`--trace`): from the start of the first
chunk in the first stage to the end of the last one in the last; loading is not in them. The logits and the greedy tokens
of all pipelines must be the same to the last bit.

A run that other jobs disturbed says nothing about the clock: each run notes how many cores' worth of time everybody else took
while it ran, and one above --others is run again, until --patience seconds have gone into repeating; after that it
counts as it is, and the table says how disturbed the runs were. Processor time per token suffers less.

What to expect: S stages and C chunks give at most S·C / (C + S - 1) times one stage. Exit status 1: two stages gave
less than 1.7 times one.
"""
from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BAR = 1.7
DECODED, DECODE_SKIPPED, DECODE_PROMPT = 32, 8, 16
PIPELINES = {"1 stage, 1 thread": (1, 1), "2 stages, 1 thread each": (2, 1), "1 stage, 2 threads": (1, 2)}


@dataclass
class Figure:
    name: str
    unit: str
    ceiling: str
    values: list[float] = field(default_factory=list)
    ceilings: list[float] = field(default_factory=list)

    def add(self, value: float, ceiling: float) -> None:
        self.values.append(value)
        self.ceilings.append(ceiling)

    def json(self) -> dict[str, object]:
        ratios = [v / c for v, c in zip(self.values, self.ceilings)]
        median = statistics.median
        return {
            "name": self.name, "value": median(self.values), "unit": self.unit, "ceiling": self.ceiling,
            "ceiling_value": median(self.ceilings), "ratio": median(ratios), "min": min(ratios), "max": max(ratios),
            "rounds": len(ratios),
        }  # fmt: skip


@dataclass(frozen=True)
class Work:
    """What one token costs, from the model's shape: docs/model.md."""

    flops: float  # of all products and attention, the mean over the prompt
    decode_bytes: float  # weights that one decoded row reads


def work_of(config: dict, tokens: int) -> Work:
    hidden, heads, dim = config["hidden_size"], config["num_attention_heads"], config["head_dim"]
    width, kv, inner = heads * dim, config["num_key_value_heads"] * dim, config["intermediate_size"]
    experts, chosen = config["num_local_experts"], config["num_experts_per_tok"]
    softmax = sum(config["attn_type_list"])
    lightning = config["num_hidden_layers"] - softmax
    projections = lightning * 5 * hidden * width + softmax * (2 * hidden * width + 2 * hidden * kv)
    mixture = config["num_hidden_layers"] * (hidden * experts + chosen * 3 * hidden * inner)
    block = 64
    attention = lightning * heads * (4 * dim * dim + 2 * block * dim) + softmax * 4 * heads * dim * tokens / 2
    return Work(2 * (projections + mixture) + attention, 2 * (projections + mixture + config["vocab_size"] * hidden))


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def machine_seconds() -> float:
    """Processor time that anybody has used, and that the hypervisor has kept for others."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


@dataclass
class Patience:
    """Runs again what was disturbed, for a while."""

    others: float  # cores
    seconds: float
    noted: list[float] = field(default_factory=list)

    def run(self, arguments: list[str]) -> float:
        """The processor time of the run that counts."""
        while True:
            start, own, all_of_it = time.monotonic(), processor_seconds(), machine_seconds()
            subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, timeout=600)
            own, took = processor_seconds() - own, time.monotonic() - start
            others = max(0.0, machine_seconds() - all_of_it - own) / took
            if others <= self.others or self.seconds <= 0:
                self.noted.append(others)
                return own
            self.seconds -= took + 2
            time.sleep(2)


class Bench:
    def __init__(
        self, build: Path, model: Path, scratch: Path, tokens: int, batch_rows: int, patience: Patience
    ) -> None:
        self.patience = patience
        self.build, self.model, self.scratch, self.batch_rows = build, model, scratch, batch_rows
        self.config = json.loads((model / "config.json").read_text())
        draw = random.Random(1)
        vocabulary = self.config["vocab_size"]
        self.prompts = {
            "prefill": [[draw.randrange(vocabulary) for _ in range(tokens)]],
            "decode": [[draw.randrange(vocabulary) for _ in range(DECODE_PROMPT)]],
            "decode 8": [[draw.randrange(vocabulary) for _ in range(DECODE_PROMPT)] for _ in range(8)],
        }
        self.outputs: dict[str, bytes] = {}
        self.processor_seconds = 0.0  # of all processes of the last run, loading included

    def pipeline(self, stages: int, threads: int) -> Path:
        layers = self.config["num_hidden_layers"]
        edges = [layers * i // stages for i in range(stages + 1)]
        lines = ["version: 1", "stages:"]
        for first, end in zip(edges, edges[1:]):
            lines.append(f"  - {{ name: layers-{first}, kind: layers, layers: {first}-{end - 1}, threads: {threads} }}")
        lines.append(f"  - {{ name: head, kind: head, threads: {threads} }}")
        path = self.scratch / "pipeline.yaml"
        path.write_text("\n".join(lines) + "\n")
        return path

    def run(self, what: str, stages: int, threads: int) -> list[dict]:
        """The slices of all batches, in order of their start."""
        ids, out, trace = (self.scratch / name for name in ("ids.json", "out.safetensors", "trace.json"))
        ids.write_text(json.dumps(self.prompts[what]))
        arguments = [self.build / "bin" / "penstock", "logits", "--model", self.model, "--ids", ids, "--out", out]
        arguments += ["--pipeline", self.pipeline(stages, threads), "--trace", trace, "--positions", "last"]
        arguments += ["--batch-rows", str(self.batch_rows)]
        if what != "prefill":
            arguments += ["--greedy", str(DECODED)]
        self.processor_seconds = self.patience.run([str(a) for a in arguments])
        if self.outputs.setdefault(what, out.read_bytes()) != out.read_bytes():
            sys.exit(f"{what}: {stages} stages of {threads} threads gave other bits than the pipeline before")
        slices = [e for e in json.loads(trace.read_text()) if e.get("ph") == "X"]
        return sorted(slices, key=lambda e: e["ts"])

    def prefill_rate(self, stages: int, threads: int) -> tuple[float, list[float]]:
        """Tokens a second, and the seconds that each stage worked."""
        slices = [e for e in self.run("prefill", stages, threads) if e["cat"] == "layers"]
        seconds = (max(e["ts"] + e["dur"] for e in slices) - slices[0]["ts"]) * 1e-6
        pids = list(dict.fromkeys(e["pid"] for e in slices))
        busy = [sum(e["dur"] for e in slices if e["pid"] == pid) * 1e-6 for pid in pids]
        return len(self.prompts["prefill"][0]) / seconds, busy

    def decode_rate(self, what: str, stages: int, threads: int) -> float:
        """Tokens a second, without the first few."""
        rows = len(self.prompts[what])
        heads = [e for e in self.run(what, stages, threads) if e["cat"] == "head"]
        steps = [e["ts"] + e["dur"] for e in heads if e["args"]["rows"] == rows][DECODE_SKIPPED:]
        return rows * (len(steps) - 1) / ((steps[-1] - steps[0]) * 1e-6)

    def limits(self, threads: int) -> dict[str, float]:
        program = self.build / "libexec" / "penstock" / "penstock-probe"
        return json.loads(subprocess.run([program, "limits", str(threads)], check=True, capture_output=True, timeout=120).stdout)


def measure(bench: Bench, rounds: int, tokens: int, decode: bool) -> tuple[list[Figure], dict[str, list[list[float]]]]:
    work = work_of(bench.config, tokens)
    figures: dict[str, Figure] = {}
    busy: dict[str, list[list[float]]] = {}
    names = list(PIPELINES)

    def add(name: str, unit: str, ceiling: str, value: float, limit: float) -> None:
        figures.setdefault(name, Figure(name, unit, ceiling)).add(value, limit)

    for turn in range(rounds):
        limits = {threads: bench.limits(threads) for threads in (1, 2)}
        rates, used = {}, {}
        for name in names[turn % 3 :] + names[: turn % 3]:
            stages, threads = PIPELINES[name]
            cores = stages * threads
            rates[name], worked = bench.prefill_rate(stages, threads)
            used[name] = bench.processor_seconds / tokens * 1e3
            busy.setdefault(name, []).append(worked)
            peak = limits[cores]["fma_gflops"] * 1e9 / work.flops
            add(f"prefill, {name}", "tokens/s", f"multiply-adds of {cores} cores", rates[name], peak)
            if not decode:
                continue
            reading = limits[threads]["read_gbs"] * 1e9 / work.decode_bytes
            rate = bench.decode_rate("decode", stages, threads)
            add(f"decode of 1, {name}", "tokens/s", f"reading, {threads} threads", rate, reading)
            rates[name + " 8"] = bench.decode_rate("decode 8", stages, threads)
        for name in names[1:]:
            add(f"processor, {name}", "ms/token", names[0], used[name], used[names[0]])
            add(f"prefill, {name}, scaling", "tokens/s", names[0], rates[name], rates[names[0]])
            if decode:
                add(f"decode of 8, {name}, scaling", "tokens/s", names[0], rates[name + " 8"], rates[names[0] + " 8"])
    return list(figures.values()), busy


def print_table(figures: list[Figure], busy: dict[str, list[list[float]]], chunks: int) -> None:
    print(f"{'':<46}{'median':>9} {'':<9}{'beside':<30}{'median':>9}  ratio (min..max)")
    for f in map(Figure.json, figures):
        print(
            f"{f['name']:<46}{f['value']:>9.1f} {f['unit']:<9}{f['ceiling']:<30}{f['ceiling_value']:>9.1f}"
            f"  {f['ratio']:.3f} ({f['min']:.3f}..{f['max']:.3f})"
        )
    for name, turns in busy.items():
        print(f"seconds of work in prefill, {name}: " + ", ".join(f"{statistics.median(s):.2f}" for s in zip(*turns)))
    print(f"two stages and {chunks} chunks can give at most {2 * chunks / (chunks + 1):.2f} times one stage")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--model", type=Path, help="a checkpoint; default: `model synth --preset bench`, made anew")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--batch-rows", type=int, default=256)
    parser.add_argument("--prefill-only", action="store_true")
    parser.add_argument("--others", type=float, default=0.1, help="cores that others may use during a run")
    parser.add_argument("--patience", type=float, default=300, help="seconds to spend on repeating disturbed runs")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    build = given.build.resolve()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        scratch = Path(folder)
        model = given.model or scratch / "model"
        if not given.model:
            synth = [build / "bin" / "penstock", "model", "synth", model, "--preset", "bench"]
            subprocess.run([str(a) for a in synth], check=True, stdout=subprocess.DEVNULL)
        patience = Patience(given.others, given.patience)
        bench = Bench(build, model, scratch, given.tokens, given.batch_rows, patience)
        figures, busy = measure(bench, given.rounds, given.tokens, not given.prefill_only)
    if given.json:
        print(json.dumps([f.json() for f in figures], indent=1))
    else:
        print_table(figures, busy, -(-given.tokens // given.batch_rows))
    noted = sorted(patience.noted)
    print(f"others used {statistics.median(noted):.2f} cores in the median run, {noted[-1]:.2f} at most", file=sys.stderr)
    ratio = next(f for f in figures if f.name == "prefill, 2 stages, 1 thread each, scaling").json()["ratio"]
    print(f"two stages / one: {ratio:.2f}, the bar is {BAR}", file=sys.stderr)
    return 0 if ratio >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
