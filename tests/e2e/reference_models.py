#!/usr/bin/python3
"""The branches of the model that no golden vector covers: made models, the real command, the float64 reference.

Every model of reference/make_model.py but `poison` runs under two layouts that share as little as possible: one
stage with large chunks, and one stage per layer with chunks of 64 and single tokens from an odd place on. Both
must agree with the reference within limits reasoned from float32, and with each other to the last bit.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Optional

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import Command, CommandError, Layout, Options, Results, bit_differences, build_folder, cut  # noqa: E402
from reference import make_model, minimax  # noqa: E402
from reference.tally import Tally  # noqa: E402
from reference.vectors import largest_difference  # noqa: E402

GREEDY = 24
NAMES = tuple(name for name in make_model.RECIPES if name != "poison")


# The limits that the golden vectors' README suggests for float32, relative where that says "about 10". They hold for
# the 9,000 tokens of span too, whose last lightning layer forgets next to nothing: rounding as a random walk gives
# its state sqrt(9000) * 2^-24 = 6e-6 of its size at worst, and the decay of a block, just below 1 and itself rounded,
# 2^-25 at each of 141 boundaries, 4e-6. A float32 version of the reference that works in blocks of 64 was seen to
# differ from float64 by 6e-7 of the largest logit, 8e-6 in hidden values and 6e-7 of the largest state. A forgotten
# span, or the layer factor without its 1e-5, moves span's logits by 1 and more.
LOGITS_RELATIVE = 4e-6  # of the largest logit
HIDDEN = 1e-4
STATE_RELATIVE = 1e-5  # of the largest entry
ROUTER_WEIGHTS = 1e-5
# What rounding must not bridge, some ten times what it could: router logits differ by about 1e-5.
LEAST_ROUTER_MARGIN = 1e-4
LEAST_GREEDY_GAP = 1e-3


def plans(name: str, layers: int) -> list[tuple[str, Layout, Options]]:
    """The second plan of span goes on token by token where the third span begins, at 8,192."""
    rows, decode_from = (600, 8181) if name == "span" else (600, 251)
    return [
        ("one_stage", cut(layers, 1), Options(batch_rows=rows)),
        ("stage_per_layer", cut(layers, layers), Options(batch_rows=64, decode_from=decode_from)),
    ]


def _near(what: str, actual: np.ndarray, expected: np.ndarray, limit: float) -> list[str]:
    difference = largest_difference(actual, expected)
    return [] if difference <= limit else [f"{what}: differs by {difference:.3g}, limit {limit:.3g}"]


def compare(trace: minimax.Trace, expected: minimax.Trace) -> list[str]:
    """Complaints about one sequence; the command has already vouched for the shapes."""
    found = _near("logits", trace.logits, expected.logits, LOGITS_RELATIVE * np.abs(expected.logits).max())
    found += _near("hidden", trace.hidden, expected.hidden, HIDDEN)
    wrong = np.count_nonzero(trace.router_ids != expected.router_ids)
    found += [f"router ids: {wrong} of {expected.router_ids.size} differ"] if wrong else []
    found += _near("router weights", trace.router_weights, expected.router_weights, ROUTER_WEIGHTS)
    for layer, state in expected.states.items():
        limit = STATE_RELATIVE * np.abs(state).max()
        found += _near(f"state of layer {layer}", trace.states[layer], state, limit)
    return found


def unfit(expected: list[minimax.Trace]) -> list[str]:
    """A model whose router nearly ties on these ids can judge nobody."""
    margin = min(float(trace.router_margins.min()) for trace in expected)
    if margin >= LEAST_ROUTER_MARGIN:
        return []
    return [f"smallest router margin {margin:.3g}, needed {LEAST_ROUTER_MARGIN:.3g}: search another seed"]


def summary(results: Results, expected: list[minimax.Trace]) -> str:
    pairs = list(zip(results.traces, expected))
    logits = max(largest_difference(a.logits, e.logits) for a, e in pairs)
    hidden = max(largest_difference(a.hidden, e.hidden) for a, e in pairs)
    states = max(
        (largest_difference(a.states[l], s) / np.abs(s).max() for a, e in pairs for l, s in e.states.items()), default=0.0
    )
    return f"logits {logits:.2g}, hidden {hidden:.2g}, states {states:.2g} of the largest"


def check_greedy(
    command: Command, folder: Path, model: minimax.Model, ids: np.ndarray, layout: Layout
) -> tuple[list[str], str]:
    tokens, gap = model.greedy(ids, GREEDY)
    if gap < LEAST_GREEDY_GAP:
        return [f"smallest gap of two best logits {gap:.3g}, needed {LEAST_GREEDY_GAP}: search another seed"], ""
    found = command.logits(folder, [ids], layout, Options(greedy=GREEDY, internals=False)).greedy[0]
    return ([] if np.array_equal(found, tokens) else [f"{found.tolist()}, expected {tokens.tolist()}"]), f"gap {gap:.2g}"


def check_model(tally: Tally, command: Command, name: str) -> None:
    folder = make_model.make(name, command.scratch / name)
    model, sequences = minimax.Model(folder), make_model.sequences(name)
    expected = [model.forward(ids) for ids in sequences]
    tally.record(f"{name}_is_fit_to_judge", unfit(expected))
    first: Optional[Results] = None
    for plan, layout, options in plans(name, model.config.layers):
        try:
            results = command.logits(folder, sequences, layout, options)
        except CommandError as error:
            tally.record(f"{name}_{plan}", [str(error)])
            continue
        found = []
        for i, trace in enumerate(results.traces):
            complaints = compare(trace, expected[i])
            if first is not None:
                complaints += [f"not the bits of the first run: {d}" for d in bit_differences(trace, first.traces[i])]
            found += [f"{len(sequences[i])} tokens: {complaint}" for complaint in complaints]
        tally.record(f"{name}_{plan}", found, summary(results, expected))
        first = first or results
    try:
        prompt = sequences[-1][:65]
        tally.record(f"{name}_greedy", *check_greedy(command, folder, model, prompt, cut(model.config.layers, 1)))
    except CommandError as error:
        tally.record(f"{name}_greedy", [str(error)])


def main() -> int:
    parser = argparse.ArgumentParser(description="Made models through the real command against the float64 reference.")
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD, else build/release)")
    parser.add_argument("--model", choices=NAMES, action="append", help="only this one (may be repeated)")
    options = parser.parse_args()
    tally = Tally()
    try:
        command = Command(build_folder(options.build))
    except CommandError as error:
        tally.record("the_command_is_built", [str(error)])
        return tally.finish()
    for name in options.model or NAMES:
        check_model(tally, command, name)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
