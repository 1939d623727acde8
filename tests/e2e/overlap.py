#!/usr/bin/python3
"""One document alone fills the pipeline: chunk c+1 is in the first stage while chunk c is in the second.

Read from the --trace of a real run of the shipped document of 30,000 tokens over two `layers` stages of equal work.
"""
from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import CommandError, build_folder  # noqa: E402
from e2e.runs import EXAMPLES, Workplace  # noqa: E402
from reference.tally import Tally  # noqa: E402

# Lightning layers only: every chunk is the same work in both stages.
SHAPE = ("--layers", 8, "--softmax-every", 9, "--hidden", 192, "--heads", 4, "--head-dim", 32, "--kv-heads", 2,
         "--rotary-dim", 16, "--inner", 192, "--experts", 4, "--positions", 65536)  # fmt: skip
DOCUMENT = EXAMPLES / "documents/persuasion-1-7.txt"
BATCH_ROWS = 512
PIPELINE = f"""version: 1
limits: {{ batch_rows: {BATCH_ROWS} }}
stages:
  - {{ name: tokenize, kind: tokenize }}
  - {{ name: low, kind: layers, layers: 0-3, threads: 1 }}
  - {{ name: high, kind: layers, layers: 4-7, threads: 1 }}
  - {{ name: head, kind: head }}
  - {{ name: detokenize, kind: detokenize }}
"""
SHARE = 0.5  # of the less busy stage's time that the other must be busy too; the aim on an idle machine is 0.8


@dataclass(frozen=True)
class Slice:
    batch: int
    rows: int
    start: float  # microseconds
    end: float


def prefill_slices(trace: list[dict]) -> dict[str, list[Slice]]:
    """Of each stage by name, in order of time; slices of the prompt only, which hold more rows than one."""
    names = {e["pid"]: e["args"]["name"] for e in trace if e["name"] == "process_name"}
    found: dict[str, list[Slice]] = {name: [] for name in names.values()}
    for e in trace:
        if e["ph"] == "X" and e["args"]["rows"] > 1:
            found[names[e["pid"]]].append(Slice(e["args"]["batch"], e["args"]["rows"], e["ts"], e["ts"] + e["dur"]))
    return {name: sorted(slices, key=lambda s: s.start) for name, slices in found.items()}


def busy(slices: list[Slice]) -> float:
    return sum(s.end - s.start for s in slices)


def common(a: list[Slice], b: list[Slice]) -> float:
    """How long both have a slice. Slices of one stage never overlap."""
    return sum(max(0.0, min(x.end, y.end) - max(x.start, y.start)) for x in a for y in b)


def check_slices(low: list[Slice], high: list[Slice], tokens: int) -> list[str]:
    found = []
    for name, slices in (("low", low), ("high", high)):
        rows = sum(s.rows for s in slices)
        found += [] if abs(rows - tokens) <= 1 else [f"stage {name} has {rows} prefill rows in its slices, the prompt {tokens}"]
        if any(later.start < earlier.end for earlier, later in zip(slices, slices[1:])):
            found.append(f"slices of stage {name} overlap one another")
    starts = {s.batch: s.start for s in high}
    found += [f"batch {s.batch} began in high before it began in low" for s in low if starts.get(s.batch, s.end) < s.start]
    return found


def run(build: Path) -> tuple[int, dict[str, list[Slice]]]:
    place = Workplace(build, SHAPE)
    pipeline, trace = place.write_pipeline("two.yaml", PIPELINE), place.folder / "trace.json"
    options = ("--set", "generation.max_tokens=4", "--trace", trace)
    complaints = place.run([DOCUMENT], "out", *options, pipeline=pipeline).expect(0)
    if complaints:
        raise CommandError("\n".join(complaints))
    summary = json.loads((place.folder / "out/summary.json").read_text())
    return summary["prompt_tokens"], prefill_slices(json.loads(trace.read_text()))


def main() -> int:
    parser = argparse.ArgumentParser(description="Whether one document keeps two stages busy at the same time.")
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD, else build/release)")
    options, tally = parser.parse_args(), Tally()
    try:
        tokens, slices = run(build_folder(options.build))
    except CommandError as error:
        tally.record("the_document_is_processed", [str(error)])
        return tally.finish()
    low, high = slices["low"], slices["high"]
    tally.record("every_prompt_row_passes_each_stage_once_and_in_order", check_slices(low, high, tokens), f"{tokens} tokens")
    both, least = common(low, high), min(busy(low), busy(high))
    whole = low[-1].end - low[0].start
    note = (f"{both / least:.0%} of the less busy stage's {least / 1e6:.2f} s; {both / whole:.0%} of the "
            f"{whole / 1e6:.2f} s between the first stage's first and last slice; {len(low)} chunks")  # fmt: skip
    complaints = [] if both >= SHARE * least else [f"only {note}, expected {SHARE:.0%}"]
    tally.record("one_document_keeps_two_stages_busy_at_once", complaints, note)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
