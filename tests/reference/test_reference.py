#!/usr/bin/python3
"""Checks the judge: the float64 reference, the comparison with the golden vectors, the reader and the made models.

Run it alone. Nothing here runs the product. The reference must agree with the vectors, which another program
made; and the limits must catch the mistakes that docs/model.md lists, or agreement would mean little.
"""
from __future__ import annotations

import struct
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Callable

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from reference import make_model, minimax, safetensors_io, vectors  # noqa: E402
from reference.tally import Tally  # noqa: E402

LENGTH = 300  # tokens that show a mistake in a made model


class PlainSlopes(minimax.Model):
    def slopes(self) -> np.ndarray:
        heads = self.config.heads
        return 2.0 ** (-8.0 * (np.arange(heads) + 1) / heads)


class ForgetsFirstSpan(minimax.Model):
    def weigh(self, scores: np.ndarray, visible: np.ndarray) -> np.ndarray:
        kept = visible.copy()
        kept[visible.sum(axis=1) > 4096, :4096] = False
        return super().weigh(scores, kept)


class KeepsStaleMaximum(minimax.Model):
    """A span merge that adds the second span's sums without rescaling them to a common maximum."""

    def weigh(self, scores: np.ndarray, visible: np.ndarray) -> np.ndarray:
        masked = np.where(visible, scores, -np.inf)
        e = np.zeros_like(masked)
        for begin in range(0, masked.shape[1], 4096):
            part = masked[:, begin : begin + 4096]
            top = part.max(axis=1, keepdims=True)
            e[:, begin : begin + 4096] = np.where(np.isfinite(top), np.exp(part - np.where(np.isfinite(top), top, 0)), 0)
        return e / e.sum(axis=1, keepdims=True)


class DropsLayerEpsilon(minimax.Model):
    def decay(self, layer: int) -> np.ndarray:
        return np.exp(-self.slopes() * (minimax.layer_factor(layer, self.config.layers) - 1e-5))


class AddsTheOtherResidual(minimax.Model):
    """Before the norm where it should be after, and the other way round."""

    def add(self, kind: str, x: np.ndarray, y: np.ndarray, branch: np.ndarray) -> np.ndarray:
        return super().add(kind, y, x, branch)


class ForgetsState(minimax.Model):
    """Loses the lightning state at position 256."""

    def lightning(self, layer: int, y: np.ndarray, sequence: minimax.Sequence) -> np.ndarray:
        parts = []
        for part in (y[:256], y[256:]):
            if len(part):
                sequence.matrices.pop(layer, None)
                parts.append(super().lightning(layer, part, sequence))
        return np.concatenate(parts)


def check_goldens(tally: Tally) -> None:
    for name in vectors.MODELS:
        golden = vectors.Golden(name)
        model = minimax.Model(golden.folder)
        for n in golden.lengths:
            trace = model.forward(golden.ids(n))
            seen = vectors.largest_difference(trace.logits[golden.tensors[f"seq{n}.pos"]], golden.tensors[f"seq{n}.logits"])
            tally.record(f"{name}_{n}_tokens_agree", golden.compare(n, trace), f"largest logit difference {seen:.2g}")
        tally.record(f"{name}_continuation_agrees", golden.compare_continued(model.forward(golden.continued_ids())))
        tokens, gap = model.greedy(golden.ids(64), 64)
        tally.record(f"{name}_greedy_tokens_agree", golden.compare_greedy(tokens), f"smallest gap {gap:.2g}")


def check_comparison(tally: Tally) -> None:
    """The comparison must complain about data that is wrong in any one place."""
    golden = vectors.Golden("nano")
    right = minimax.Model(golden.folder).forward(golden.ids(64))

    def spoilt(field: str, index: tuple[int, ...], by: float) -> minimax.Trace:
        array = getattr(right, field).copy()
        array[index] += by
        return replace(right, **{field: array})

    state = {**right.states, 0: right.states[0] + 1e-2}
    wrong = {
        "logit_off_by_1e-4": spoilt("logits", (63, 5), 1e-4),
        "logit_that_is_nan": spoilt("logits", (63, 5), np.nan),
        "hidden_off_by_1e-3": spoilt("hidden", (3, 17, 2), 1e-3),
        "other_router_choice": spoilt("router_ids", (7, 63, 1), 1),
        "router_weight_off_by_1e-4": spoilt("router_weights", (2, 9, 0), 1e-4),
        "state_off_by_1e-2": replace(right, states=state),
        "missing_state": replace(right, states={k: v for k, v in right.states.items() if k != 6}),
        "too_few_logits": replace(right, logits=right.logits[:63]),
    }
    for name, trace in wrong.items():
        complaints = golden.compare(64, trace)
        tally.record(f"{name}_is_seen", [] if complaints else ["no complaint"], "; ".join(complaints))
    tokens = golden.greedy().copy()
    tokens[-1] += 1
    tally.record("other_greedy_token_is_seen", [] if golden.compare_greedy(tokens) else ["no complaint"])


def check_chunks(tally: Tally) -> None:
    """Feeding 1 + 99 + 200 tokens must be the same as 300: the state that is carried is complete."""
    for name in ("nano", "shared"):
        golden = vectors.Golden(name)
        model, ids, sequence = minimax.Model(golden.folder), golden.ids(600)[:300], minimax.Sequence()
        pieces = [model.forward(part, sequence).logits for part in (ids[:1], ids[1:100], ids[100:])]
        difference = vectors.largest_difference(np.concatenate(pieces), model.forward(ids).logits)
        tally.record(f"{name}_chunks_are_the_whole", [] if difference < 1e-10 else [f"differ by {difference}"])


def check_io(tally: Tally, folder: Path) -> None:
    path = folder / "some.safetensors"
    values = np.array([1.0, 1.00390625, 1.01171875, -2.5e-41, 3e38, 1 / 3], np.float32).reshape(2, 3)
    written = {
        "f": values,
        "i": np.arange(3, dtype=np.int32),
        "b": safetensors_io.to_bf16(values),
        "e": np.zeros((0, 4), np.float32),
    }
    safetensors_io.write(path, written)
    found = safetensors_io.read(path)
    same = all(np.array_equal(found[k], written[k]) and found[k].dtype == written[k].dtype for k in ("f", "i", "e"))
    tally.record("what_is_written_is_read", [] if same and list(found) == list(written) else [f"{found}"])
    # 1.00390625 and 1.01171875 lie half-way between neighbours: to the even one, down and up.
    halves = list(found["b"].ravel()[:3])
    tally.record("bf16_rounds_halves_to_even", [] if halves == [1.0, 1.0, 1.015625] else [f"{halves}"])
    good = path.read_bytes()
    bad = {
        "truncated_body": good[:-4],
        "truncated_header": good[:40],
        "file_of_3_bytes": good[:3],
        "huge_header_length": struct.pack("<Q", 2**63) + good[8:],
        "unknown_type": good.replace(b'"F32"', b'"Q32"'),
        "shape_that_does_not_fit": good.replace(b"[2,3]", b"[2,4]"),
    }
    for name, data in bad.items():
        path.write_bytes(data)
        try:
            safetensors_io.read(path)
            tally.record(f"{name}_is_refused", ["it was read"])
        except safetensors_io.FileError as error:
            tally.record(f"{name}_is_refused", [], str(error))


def _logits(model: minimax.Model, length: int) -> np.ndarray:
    ids = np.random.default_rng(0).integers(0, 250, length)
    return model.forward(ids).logits


def check_mistakes(tally: Tally, folder: Path) -> None:
    """Each mistake must move the logits of the model that is there to show it far beyond its limit."""
    mistakes: list[tuple[str, str, Callable[[Path], minimax.Model], int, float]] = [
        ("plain_slopes", "odd_heads", PlainSlopes, LENGTH, 0.1),
        ("residual_after_norm", "prenorm", AddsTheOtherResidual, LENGTH, 0.1),
        ("residual_before_norm", "top3", AddsTheOtherResidual, LENGTH, 0.1),
        ("lost_state", "half", ForgetsState, LENGTH, 0.1),
        ("missing_layer_epsilon", "span", DropsLayerEpsilon, 5000, 1e-3),
        ("forgotten_span", "span", ForgetsFirstSpan, 5000, 0.1),
        ("stale_maximum", "span", KeepsStaleMaximum, 5000, 0.1),
    ]
    for mistake, name, wrong, length, least in mistakes:
        made = make_model.make(name, folder / name)
        moved = vectors.largest_difference(_logits(wrong(made), length), _logits(minimax.Model(made), length))
        tally.record(f"{mistake}_shows_in_{name}", [] if moved > least else [f"moves logits by {moved:.3g} only"], f"{moved:.2g}")


def check_poison(tally: Tally, folder: Path) -> None:
    """Each poison id must make non-finite rows from its own on, and no ordinary id may. In float32, and one token
    at a time: a matrix of scores that is masked with zeros would itself carry Inf backwards."""
    model = minimax.Model(make_model.make("poison", folder / "poison"), np.float32)
    ordinary = np.random.default_rng(0).integers(0, min(make_model.POISON_IDS), 60)
    for place, token in {"nothing": -1, **make_model.POISON}.items():
        ids, sequence = ordinary.copy(), minimax.Sequence()
        if token >= 0:
            ids[30] = token
        traces = [model.forward(ids[t : t + 1], sequence) for t in range(len(ids))]
        finite = np.array([np.isfinite(trace.logits).all() for trace in traces])
        last = 30 if token >= 0 else len(ids)
        wrong = [] if finite[:last].all() and not finite[last:].any() else [f"finite rows: {np.flatnonzero(finite)}"]
        tally.record(f"poison_in_{place}_spoils_its_own_future_only", wrong)
    with np.errstate(over="ignore", invalid="ignore"):
        kinds = {place: _kinds(model, token) for place, token in make_model.POISON.items()}
    seen = " ".join(kinds.values())
    tally.record("poison_brings_both_inf_and_nan", [] if "inf" in seen and "nan" in seen else [seen], f"{kinds}")


def _kinds(model: minimax.Model, token: int) -> str:
    """What stands in the states and caches after the token alone."""
    sequence = minimax.Sequence()
    model.forward(np.array([5, token]), sequence)
    held = [*sequence.matrices.values(), *sequence.keys.values(), *sequence.values.values()]
    seen = [word for word, test in (("inf", np.isinf), ("nan", np.isnan)) if any(test(array).any() for array in held)]
    return " ".join(seen)


def main() -> int:
    tally = Tally()
    check_goldens(tally)
    check_comparison(tally)
    check_chunks(tally)
    with tempfile.TemporaryDirectory() as folder:
        check_io(tally, Path(folder))
        check_mistakes(tally, Path(folder))
        check_poison(tally, Path(folder))
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
