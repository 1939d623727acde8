"""The golden vectors of tests/golden, and what it means to agree with them.

A Golden holds one model's expectations; compare() says in words where a Trace departs from them by more than the
limits which the vectors' README suggests. The README's reasons for the limits hold here: whoever needs more is
probably wrong, not imprecise.
"""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reference import safetensors_io
from reference.minimax import Trace

FOLDER = Path(__file__).resolve().parents[1] / "golden"
MODELS = ("nano", "duo", "shared")


@dataclass(frozen=True)
class Limits:
    logits: float = 4e-5
    hidden: float = 1e-4
    state_relative: float = 1e-5  # of the largest entry; or state_absolute, whichever is larger
    state_absolute: float = 2e-4
    router_weights: float = 1e-5
    logprob_sum: float = 1e-3


LIMITS = {"nano": Limits(), "duo": Limits(logits=8e-5), "shared": Limits()}


def largest_difference(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest absolute difference; NaN anywhere gives infinity, so that it never passes a limit."""
    if actual.size == 0:
        return 0.0
    difference = np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max()
    return float(difference) if np.isfinite(difference) else np.inf


def logprob_sum(logits: np.ndarray, ids: np.ndarray) -> float:
    """Sum over t of ln softmax(logits at t)[ids[t + 1]], in float64."""
    if len(ids) < 2:
        return 0.0
    rows = logits[:-1].astype(np.float64)
    top = rows.max(axis=-1, keepdims=True)
    normaliser = np.log(np.exp(rows - top).sum(axis=-1)) + top[:, 0]
    return float((rows[np.arange(len(rows)), ids[1:]] - normaliser).sum())


class Golden:
    def __init__(self, name: str) -> None:
        self.name, self.folder, self.limits = name, FOLDER / name, LIMITS[name]
        self.tensors = safetensors_io.read(self.folder / "expected.safetensors")
        self.facts = json.loads((self.folder / "expected.json").read_text())["sequences"]
        self.lengths = sorted(int(n) for n in self.facts)
        config = json.loads((self.folder / "config.json").read_text())
        self.layers: int = config["num_hidden_layers"]

    def ids(self, n: int) -> np.ndarray:
        return self.tensors[f"seq{n}.ids"]

    def greedy(self) -> np.ndarray:
        """The arg-max continuation of the 64-token sequence."""
        return self.tensors["p64.greedy"]

    def continued_ids(self) -> np.ndarray:
        """The 64-token sequence with its continuation, for which compare_continued() knows the end."""
        return np.concatenate([self.ids(64), self.greedy()])

    def _near(self, what: str, actual: np.ndarray, expected: np.ndarray, limit: float) -> list[str]:
        if actual.shape != expected.shape:
            return [f"{what}: shape {list(actual.shape)}, expected {list(expected.shape)}"]
        difference = largest_difference(actual, expected)
        return [] if difference <= limit else [f"{what}: differs by {difference:.3g}, limit {limit:.3g}"]

    def _same(self, what: str, actual: np.ndarray, expected: np.ndarray) -> list[str]:
        if actual.shape == expected.shape and np.array_equal(actual, expected):
            return []
        return [f"{what}: {np.count_nonzero(actual != expected)} of {expected.size} differ"]

    def _state(self, what: str, actual: np.ndarray, expected: np.ndarray) -> list[str]:
        relative = self.limits.state_relative * float(np.abs(expected).max())
        return self._near(what, actual, expected, max(relative, self.limits.state_absolute))

    def compare(self, n: int, trace: Trace) -> list[str]:
        """Complaints about the trace of the whole n-token sequence; none means that it agrees."""
        facts, limits = self.facts[str(n)], self.limits
        expected = self.tensors[f"seq{n}.logits"]
        if trace.logits.shape != (n, expected.shape[1]):
            return [f"logits: shape {list(trace.logits.shape)}, expected {[n, expected.shape[1]]}"]
        found = self._near("logits", trace.logits[self.tensors[f"seq{n}.pos"]], expected, limits.logits)
        total = logprob_sum(trace.logits, self.ids(n))
        if not abs(total - facts["logprob_sum"]) <= limits.logprob_sum:
            found.append(f"log-probability sum: {total:.6f}, expected {facts['logprob_sum']:.6f}")
        if int(np.argmax(trace.logits[-1])) != facts["argmax_last"]:
            found.append(f"last arg-max: {int(np.argmax(trace.logits[-1]))}, expected {facts['argmax_last']}")
        return found + (self._compare_internals(trace) if n == 64 else [])

    def _compare_internals(self, trace: Trace) -> list[str]:
        expected, limits = self.tensors, self.limits
        hidden = trace.hidden[:, expected["p64.hidden_pos"]]
        found = self._near("hidden", hidden, expected["p64.hidden"], limits.hidden)
        found += self._same("router ids", trace.router_ids, expected["p64.router_ids"])
        found += self._near("router weights", trace.router_weights, expected["p64.router_weights"], limits.router_weights)
        wanted = {layer for layer in range(self.layers) if f"p64.state.{layer}" in expected}
        if set(trace.states) != wanted:
            found.append(f"states of layers {sorted(trace.states)}, expected {sorted(wanted)}")
        for layer in sorted(wanted & set(trace.states)):
            found += self._state(f"state of layer {layer}", trace.states[layer], expected[f"p64.state.{layer}"])
        return found

    def compare_continued(self, trace: Trace) -> list[str]:
        """Complaints about the trace of continued_ids()."""
        found = self._near("last logits", trace.logits[-1], self.tensors["p64.greedy_last_logits"], self.limits.logits)
        for name, expected in self.tensors.items():
            if name.startswith("p64.state_after_greedy."):
                layer = int(name.rsplit(".", 1)[1])
                if layer not in trace.states:
                    found.append(f"state of layer {layer} is missing")
                else:
                    found += self._state(f"state of layer {layer}", trace.states[layer], expected)
        return found

    def compare_greedy(self, tokens: np.ndarray) -> list[str]:
        return self._same("greedy tokens", np.asarray(tokens), self.greedy())
