#!/usr/bin/python3
"""The golden matrix: every golden vector through the real processes, for layouts x chunks x decode positions.

Each run must agree with the vectors within the limits of their README, and all runs of one model must agree with
each other to the last bit. The ids of all lengths of a model, and the 64-token sequence with its known
continuation, go into one command.
"""
from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Iterator, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import Command, CommandError, Layout, Options, Results, bit_differences, build_folder, cut  # noqa: E402
from reference.tally import Tally  # noqa: E402
from reference.vectors import MODELS, Golden, largest_difference  # noqa: E402

BATCH_ROWS = (1, 7, 64, 256, 600)
# Odd places: the first token, just before and after a block of 64, inside of a block, the last token of 600. With
# each goes a batch size that cuts the prefill before it somewhere else.
DECODE_FROM = ((1, 64), (63, 256), (65, 7), (131, 600), (256, 33), (599, 64))


def layouts(golden: Golden) -> list[tuple[str, Layout]]:
    return [
        ("one_stage", cut(golden.layers, 1)),
        ("two_stages", cut(golden.layers, 2)),
        ("stage_per_layer", cut(golden.layers, golden.layers)),
    ]


def matrix(golden: Golden) -> Iterator[tuple[str, Layout, Options]]:
    """Every batch size on every layout; two decode positions on each layout, all six over the three."""
    places = iter(DECODE_FROM)
    for name, layout in layouts(golden):
        for rows in BATCH_ROWS:
            yield f"{name}_rows_{rows}", layout, Options(batch_rows=rows)
        for position, rows in itertools.islice(places, 2):
            yield f"{name}_rows_{rows}_decode_from_{position}", layout, Options(batch_rows=rows, decode_from=position)


def compare(golden: Golden, results: Results, first: Optional[Results]) -> list[str]:
    """Complaints about one run: against the vectors, and bit by bit against the first run of the model."""
    found = []
    for n, trace in zip(golden.lengths, results.traces):
        found += [f"{n} tokens: {complaint}" for complaint in golden.compare(n, trace)]
    found += [f"continued: {complaint}" for complaint in golden.compare_continued(results.traces[-1])]
    if first is not None:
        for label, trace, other in zip([*golden.lengths, "continued"], results.traces, first.traces):
            found += [f"{label} tokens: not the bits of the first run: {d}" for d in bit_differences(trace, other)]
    return found


def worst_logits(golden: Golden, results: Results) -> str:
    worst = max(
        largest_difference(trace.logits[golden.tensors[f"seq{n}.pos"]], golden.tensors[f"seq{n}.logits"])
        for n, trace in zip(golden.lengths, results.traces)
    )
    return f"largest logit difference {worst:.2g} of {golden.limits.logits:.2g}"


def check_model(tally: Tally, command: Command, golden: Golden) -> None:
    sequences = [golden.ids(n) for n in golden.lengths] + [golden.continued_ids()]
    first: Optional[Results] = None
    for name, layout, options in matrix(golden):
        try:
            results = command.logits(golden.folder, sequences, layout, options)
        except CommandError as error:
            tally.record(f"{golden.name}_{name}", [str(error)])
            continue
        tally.record(f"{golden.name}_{name}", compare(golden, results, first), worst_logits(golden, results))
        first = first or results
    for name, layout in layouts(golden):
        check_greedy(tally, command, golden, name, layout)


def check_greedy(tally: Tally, command: Command, golden: Golden, name: str, layout: Layout) -> None:
    """The continuation made by the pipeline itself."""
    options = Options(greedy=len(golden.greedy()), internals=False)
    try:
        results = command.logits(golden.folder, [golden.ids(64)], layout, options)
        tally.record(f"{golden.name}_{name}_greedy", golden.compare_greedy(results.greedy[0]))
    except CommandError as error:
        tally.record(f"{golden.name}_{name}_greedy", [str(error)])


def main() -> int:
    parser = argparse.ArgumentParser(description="The golden vectors through the real command.")
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD, else build/release)")
    parser.add_argument("--model", choices=MODELS, action="append", help="only this one (may be repeated)")
    options = parser.parse_args()
    tally = Tally()
    try:
        command = Command(build_folder(options.build))
    except CommandError as error:
        tally.record("the_command_is_built", [str(error)])
        return tally.finish()
    for name in options.model or MODELS:
        check_model(tally, command, Golden(name))
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
