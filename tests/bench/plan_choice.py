#!/usr/bin/python3
"""The layout that the program chooses beside the best of all, on two synthetic models.

    tests/bench/plan_choice.py [--build DIR] [--rounds N] [--documents N] [--tokens N] [--answer N] [--rows N,N,…]
                               [--model NAME] [--builtin] [--json]

For each model every cut into at most as many `layers` stages as there are cores, every number of threads that the cores
allow and every number of batch rows given runs through `penstock run`, once in each round, in an order that moves on; the
chosen layout (`penstock check --print` after a `penstock doctor`, or by the built-in speeds) is one of them. Compared are
seconds of work (loading excluded) and processor seconds of all processes, each as the median over the rounds of the
ratio to the same round of the layout whose median is least. The answers of all must be the same to the byte.

The bar: the chosen layout takes no more than 1.10 times the best one's seconds of work. Other jobs on the machine disturb the
clock more than the processor time; the table says how many cores they took. Exit status 1: the bar is missed.
"""
from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
BAR = 1.10
BYTES_PER_TOKEN = 3.6  # of the shipped texts with the shipped tokenizer
COMMON = ("--hidden", 512, "--heads", 8, "--head-dim", 64, "--kv-heads", 2, "--rotary-dim", 32, "--inner", 512,
          "--experts", 8, "--experts-per-token", 2, "--vocab", 4096, "--positions", 65536)  # fmt: skip
MODELS = {
    "even": ("--layers", 8, "--softmax-every", 4),  # alike in both halves
    "uneven": ("--layers", 7, "--softmax-every", 7, "--heads", 16, "--kv-heads", 8),  # all softmax work in the last layer
}


@dataclass(frozen=True)
class Layout:
    edges: tuple[int, ...]  # first layer of each stage, and the number of layers
    threads: int
    rows: int

    def __str__(self) -> str:
        parts = " | ".join(f"{a}-{b - 1}" for a, b in zip(self.edges, self.edges[1:]))
        return f"{parts}, {self.threads} threads, {self.rows} rows"

    def yaml(self) -> str:
        layers = "".join(f"  - {{ kind: layers, layers: {a}-{b - 1}, threads: {self.threads} }}\n"
                         for a, b in zip(self.edges, self.edges[1:]))  # fmt: skip
        return (f"version: 1\nlimits: {{ batch_rows: {self.rows} }}\nstages:\n  - {{ kind: tokenize }}\n{layers}"
                f"  - {{ kind: head, threads: {self.threads} }}\n  - {{ kind: detokenize }}\n")  # fmt: skip


@dataclass
class Measured:
    work: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def every_layout(layers: int, cores: int, rows: list[int]) -> Iterator[Layout]:
    for stages in range(1, min(cores, layers) + 1):
        threads = [t for t in range(1, cores // stages + 1)]
        for inner in itertools.combinations(range(1, layers), stages - 1):
            for count, batch in itertools.product(threads, rows):
                yield Layout((0, *inner, layers), count, batch)


def machine_seconds() -> float:
    """Processor time that anybody has used, and that the hypervisor has kept for others."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Bench:
    def __init__(self, build: Path, scratch: Path, name: str, options: argparse.Namespace) -> None:
        self.penstock, self.scratch, self.options = build / "bin" / "penstock", scratch, options
        self.environment = {**os.environ, "XDG_CACHE_HOME": str(scratch / "cache"), "XDG_RUNTIME_DIR": str(scratch)}
        self.model, self.docs = scratch / name, scratch / f"{name}-docs"
        self.call("model", "synth", self.model, "--tokenizer", EXAMPLES / "tokenizer/tokenizer.json", *COMMON, *MODELS[name])
        self.layers = json.loads((self.model / "config.json").read_text())["num_hidden_layers"]
        self.write_documents()
        self.answers: list[bytes] | None = None
        self.others: list[float] = []

    def call(self, *words: object) -> str:
        done = subprocess.run([str(self.penstock), *map(str, words)], env=self.environment, capture_output=True, timeout=900)
        if done.returncode:
            sys.exit(f"penstock {' '.join(map(str, words))}: exit status {done.returncode}\n{done.stderr.decode()}")
        return done.stdout.decode()

    def write_documents(self) -> None:
        text = "".join(path.read_text() for path in sorted((EXAMPLES / "documents").glob("*.txt"))) * 4
        size = int(self.options.tokens * BYTES_PER_TOKEN)
        self.docs.mkdir()
        for i in range(self.options.documents):
            (self.docs / f"{i}.txt").write_text(text[i * 1009 :][:size])

    def settings(self) -> list[str]:
        """They bound the workload that the choice is made for: documents, their length, the answer's."""
        o = self.options
        limits = (f"limits.context={int(o.tokens * 1.15) + o.answer}", f"limits.sequences={o.documents}",
                  f"generation.max_tokens={o.answer}")  # fmt: skip
        return [word for limit in limits for word in ("--set", limit)]

    def chosen(self) -> Layout:
        stages, rows = [], 0
        for line in self.call("check", "--print", "-m", self.model, *self.settings()).splitlines():
            if line.startswith("limits:"):
                rows = int(line.split("batch_rows: ")[1].split(",")[0])
            if "kind: layers" in line:
                first, last = line.split("layers: ")[1].split(",")[0].split("-")
                stages.append((int(first), int(last) + 1, int(line.split("threads: ")[1].split(",")[0])))
        return Layout((0, *(end for _, end, _ in stages)), stages[0][2], rows)

    def run(self, layout: Layout) -> tuple[float, float]:
        pipeline, out = self.scratch / "pipeline.yaml", self.scratch / "out"
        pipeline.write_text(layout.yaml())
        subprocess.run(["rm", "-rf", str(out)], check=True)
        start, own, everybody = time.monotonic(), processor_seconds(), machine_seconds()
        self.call("run", pipeline, self.docs, "-m", self.model, "-q", "What is told here?", "-o", out, *self.settings())
        own, took = processor_seconds() - own, time.monotonic() - start
        self.others.append(max(0.0, machine_seconds() - everybody - own) / took)
        answers = sorted((out / "results.jsonl").read_bytes().splitlines())
        if self.answers is None:
            self.answers = answers
        if answers != self.answers or len(answers) != self.options.documents:
            sys.exit(f"{layout}: other answers than the layout before")
        return json.loads((out / "summary.json").read_text())["work_seconds"], own


def ratios(of: list[float], to: list[float]) -> tuple[float, float, float]:
    each = [a / b for a, b in zip(of, to)]
    return statistics.median(each), min(each), max(each)


def compare(name: str, bench: Bench, cores: int) -> dict[str, object]:
    o = bench.options
    chosen = bench.chosen()
    layouts = list(dict.fromkeys([chosen, *every_layout(bench.layers, cores, o.rows)]))
    measured = {layout: Measured() for layout in layouts}
    for turn in range(o.rounds):
        move = turn * len(layouts) // o.rounds
        for layout in layouts[move:] + layouts[:move]:
            work, processor = bench.run(layout)
            measured[layout].work.append(work)
            measured[layout].processor.append(processor)
    report: dict[str, object] = {"model": name, "layouts": len(layouts), "rounds": o.rounds, "chosen": str(chosen)}
    for what in ("work", "processor"):
        values = {layout: getattr(m, what) for layout, m in measured.items()}
        best = min(values, key=lambda layout: statistics.median(values[layout]))
        median, least, most = ratios(values[chosen], values[best])
        report[what] = {"best": str(best), "best_seconds": statistics.median(values[best]),
                        "chosen_seconds": statistics.median(values[chosen]), "ratio": median, "min": least, "max": most}  # fmt: skip
    report["others_cores"] = statistics.median(bench.others)
    if o.all:
        for layout in sorted(layouts, key=lambda layout: statistics.median(measured[layout].work)):
            m = measured[layout]
            print(f"    {statistics.median(m.work):8.2f} s {statistics.median(m.processor):8.2f} s processor  {layout}",
                  file=sys.stderr)  # fmt: skip
    return report


def show(report: dict[str, object]) -> None:
    print(f"{report['model']}: {report['layouts']} layouts, {report['rounds']} rounds; others took "
          f"{report['others_cores']:.2f} cores in the median run")  # fmt: skip
    print(f"  chosen              {report['chosen']}")
    for what, words in (("work", "seconds of work"), ("processor", "processor seconds")):
        r = report[what]
        print(f"  {words:<19} {r['chosen_seconds']:.2f}, best {r['best_seconds']:.2f} ({r['best']}):"
              f" {r['ratio']:.3f} ({r['min']:.3f}..{r['max']:.3f})")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--documents", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=2048, help="of a document, about")
    parser.add_argument("--answer", type=int, default=32, help="tokens of an answer")
    parser.add_argument("--rows", type=lambda text: [int(n) for n in text.split(",")], default=[64, 256, 1024])
    parser.add_argument("--model", choices=MODELS, help="this one only")
    parser.add_argument("--builtin", action="store_true", help="choose by the built-in speeds, without a doctor's")
    parser.add_argument("--all", action="store_true", help="also every layout, best first, on stderr")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    cores, reports = len(os.sched_getaffinity(0)), []
    for name in [given.model] if given.model else MODELS:
        with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
            bench = Bench(given.build.resolve(), Path(folder), name, given)
            if not given.builtin:
                bench.call("doctor", "--folder", folder)
            reports.append(compare(name, bench, cores))
        if not given.json:
            show(reports[-1])
    if given.json:
        print(json.dumps(reports, indent=1))
    missed = [r["model"] for r in reports if r["work"]["ratio"] > BAR]
    for name in missed:
        print(f"{name}: the chosen layout takes more than {BAR} times the best one's time", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
