#!/usr/bin/python3
"""Row purity as a property of real processes: an answer's bits depend on its own tokens and the weights only.

    purity.py --cases N --seed S     N cases, drawn from S; each prints its digest and the seed that replays it
    purity.py --replay S.I           case I of seed S alone, with its whole layout
    purity.py --expect-failure       for builds that are wrong on purpose: exit status 0 only if a case differs

A case is a fresh pipeline with random stage cuts, threads, devices, window, batch size and decode position, and a
random mix of sequences: prefixes, repetitions, with and without ids that bring Inf and NaN. Everything that the
command gives for a sequence (logits, hidden values, router, states) must equal its baseline bit for bit, NaN
being one value. The baseline is the sequence alone, one layers stage, one thread, plain C, *token by token*: no
later token exists yet when a row is computed, and no sum ever sees a second row. Some cases ask for the last
logits only, so that the stages leave out what nobody wants. A poisoned sequence must moreover
equal, up to its poison, the baseline of the part before it.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import (  # noqa: E402
    Command, CommandError, LayersStage, Layout, Options, bit_differences, build_folder, canonical, parts,
)  # fmt: skip
from reference import make_model, minimax  # noqa: E402
from reference.tally import Tally  # noqa: E402
from reference.vectors import MODELS as GOLDEN_MODELS  # noqa: E402
from reference.vectors import FOLDER as GOLDENS  # noqa: E402

# Poison is drawn most often: only Inf and NaN show a mask that multiplies by zero.
MODELS = {"nano": 3, "duo": 2, "shared": 3, "poison": 6, "odd_heads": 2, "top3": 2, "half": 1, "prenorm": 1}
POOL_SIZE = 5  # sequences of one model; few, so that baselines are shared between cases
LONGEST = 300
LAST_ONLY = 0.25  # of the cases ask for the last logits alone: then the last mixture runs over few of the rows
NEEDS = {"cpu:plain": set(), "cpu:avx2": {"avx2", "fma", "f16c"}, "cpu:avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}
# At and beside the block of 64, small and odd, and larger than everything in a case.
BATCH_ROWS = (1, 2, 3, 5, 7, 13, 16, 33, 63, 64, 65, 100, 128, 200, 256, 600)


@dataclass(frozen=True)
class PoolSequence:
    """A sequence to cut pieces from. poison is the position of its first poison id, or None."""

    ids: tuple[int, ...]
    cuts: tuple[int, ...]  # lengths at which it is used; the last is the whole
    poison: Optional[int]


@dataclass(frozen=True)
class Piece:
    """The first `length` tokens of a pool sequence."""

    source: int
    length: int


@dataclass(frozen=True)
class Case:
    seed: str
    model: str
    layout: Layout
    options: Options
    pieces: tuple[Piece, ...]

    def __str__(self) -> str:
        pieces = " ".join(f"{p.source}[:{p.length}]" for p in self.pieces)
        return f"{self.model}, {self.layout}, {' '.join(self.options.arguments())}, sequences {pieces}"


def devices_that_run() -> tuple[str, ...]:
    flags = set(Path("/proc/cpuinfo").read_text().split())
    return tuple(device for device, needed in NEEDS.items() if needed <= flags)


DEVICES = devices_that_run()


def model_folder(name: str, scratch: Path) -> Path:
    if name in GOLDEN_MODELS:
        return GOLDENS / name
    folder = scratch / name
    return folder if folder.exists() else make_model.make(name, folder)


def draw_cut(rng: random.Random, length: int) -> int:
    """Some length up to this one; now and then the end of a block of 64, where a lightning state has no tail."""
    return 64 * rng.randint(1, length // 64) if length >= 64 and rng.random() < 0.3 else rng.randint(1, length)


def draw_sequence(rng: random.Random, vocab: int, poisons: int) -> PoolSequence:
    """poisons: how many of the tokens are to be poison ids, at places drawn."""
    length = rng.choice((rng.randint(1, 20), rng.randint(60, 70), rng.randint(100, 200), rng.randint(190, LONGEST)))
    ids = [rng.randrange(vocab) for _ in range(length)]
    places = sorted({rng.randrange(length) for _ in range(poisons)})
    for place in places:
        ids[place] = rng.choice(make_model.POISON_IDS)
    cuts = {draw_cut(rng, length), draw_cut(rng, length), length}
    return PoolSequence(tuple(ids), tuple(sorted(cuts)), places[0] if places else None)


def draw_pool(seed: str, model: str, vocab: int) -> list[PoolSequence]:
    """The model's sequences under a seed. One in four of the poison model's is clean, to stand beside the others."""
    rng = random.Random(f"{seed} {model}")
    if model != "poison":
        return [draw_sequence(rng, vocab, 0) for _ in range(POOL_SIZE)]
    return [draw_sequence(rng, min(make_model.POISON_IDS), rng.choice((0, 1, 1, 2))) for _ in range(POOL_SIZE)]


def draw_layout(rng: random.Random, layers: int) -> Layout:
    count = rng.choice((1, min(2, layers), rng.randint(1, min(4, layers)), rng.randint(1, layers)))
    edges = [0, *sorted(rng.sample(range(1, layers), count - 1)), layers]
    stages = tuple(
        LayersStage(first, after - 1, threads=rng.choice((1, 1, 2, 3)), device=rng.choice(DEVICES))
        for first, after in zip(edges, edges[1:])
    )
    return Layout(
        stages,
        head_device=rng.choice(DEVICES),
        head_threads=rng.choice((1, 2)),
        # No window smaller than the stages, the head among them, and one.
        window=rng.randint(count + 2, 2 * count + 5),
        sequences=rng.choice((1, 2, 3, 8, 16)),
    )


def draw_case(seed: str, index: int, shapes: dict[str, tuple[int, int]]) -> Case:
    """A function of the arguments alone. shapes: layers and vocabulary of each model to draw from."""
    name = f"{seed}.{index}"
    rng = random.Random(name)
    model = rng.choices(list(shapes), weights=[MODELS[m] for m in shapes])[0]
    layers, vocab = shapes[model]
    layout = draw_layout(rng, layers)
    pool = draw_pool(seed, model, vocab)
    sources = [rng.randrange(len(pool)) for _ in range(rng.randint(1, 6))]
    pieces = tuple(Piece(s, rng.choice((*pool[s].cuts, pool[s].cuts[-1]))) for s in sources)
    longest = max(piece.length for piece in pieces)
    decode_from = rng.choice((None, None, rng.randint(1, longest), rng.randint(max(1, longest - 40), longest)))
    options = Options(batch_rows=rng.choice(BATCH_ROWS), decode_from=decode_from)
    if rng.random() < LAST_ONLY:
        options = replace(options, internals=False, last_only=True)
    return Case(name, model, layout, options, pieces)


def on_plain(layout: Layout) -> Layout:
    """The same layout where no stage may ask for AVX2: the case stays the one that the seed means."""
    stages = tuple(replace(stage, device="cpu:plain") for stage in layout.stages)
    return replace(layout, stages=stages, head_device="cpu:plain")


class Purity:
    """Runs cases against one build; keeps the baselines that it has computed."""

    def __init__(self, command: Command, models: list[str], plain_only: bool) -> None:
        self.command, self.plain_only = command, plain_only
        self.folders = {name: model_folder(name, command.scratch) for name in models}
        self.shapes: dict[str, tuple[int, int]] = {}
        for name, folder in self.folders.items():
            config = minimax.read_config(folder / "config.json")
            self.shapes[name] = (config.layers, config.vocab)
        self._baselines: dict[tuple[str, tuple[int, ...]], minimax.Trace] = {}

    def draw(self, seed: str, index: int) -> Case:
        case = draw_case(seed, index, self.shapes)
        return replace(case, layout=on_plain(case.layout)) if self.plain_only else case

    def baseline(self, model: str, ids: tuple[int, ...]) -> minimax.Trace:
        key = (model, ids)
        if key not in self._baselines:
            layers = self.shapes[model][0]
            whole = LayersStage(0, layers - 1, threads=1, device="cpu:plain")
            plainest = Layout((whole,), head_device="cpu:plain", head_threads=1)
            results = self.command.logits(self.folders[model], [np.array(ids)], plainest, Options(batch_rows=1))
            self._baselines[key] = results.traces[0]
        return self._baselines[key]

    def run(self, case: Case) -> tuple[list[str], str]:
        """Where the case differs from the baselines, and its digest."""
        pool = draw_pool(case.seed.rsplit(".", 1)[0], case.model, self.shapes[case.model][1])
        sequences = [pool[piece.source].ids[: piece.length] for piece in case.pieces]
        ids = [np.array(sequence) for sequence in sequences]
        traces = self.command.logits(self.folders[case.model], ids, case.layout, case.options).traces
        found = []
        for i, (piece, tokens, trace) in enumerate(zip(case.pieces, sequences, traces)):
            label = f"sequence {i} ({piece.source}[:{piece.length}])"
            expected = self.baseline(case.model, tokens)
            if case.options.last_only:
                found += [f"{label}: {d}" for d in bit_differences(trace, minimax.Trace(expected.logits[-1:]))]
                continue
            found += [f"{label}: {d}" for d in bit_differences(trace, expected)]
            poison = pool[piece.source].poison
            if poison is not None and 0 < poison < piece.length:
                before = without_states(self.baseline(case.model, tokens[:poison]))
                found += [f"{label} before its poison: {d}" for d in bit_differences(head_rows(trace, poison), before)]
        return found, digest(traces)


def head_rows(trace: minimax.Trace, count: int) -> minimax.Trace:
    """The first `count` rows of everything that has rows."""
    return minimax.Trace(
        trace.logits[:count], trace.hidden[:, :count], trace.router_ids[:, :count], trace.router_weights[:, :count]
    )


def without_states(trace: minimax.Trace) -> minimax.Trace:
    return minimax.Trace(trace.logits, trace.hidden, trace.router_ids, trace.router_weights)


def digest(traces: list[minimax.Trace]) -> str:
    """Of all values of all sequences in order, NaN canonical: equal in every build and on every machine."""
    state = hashlib.blake2b(digest_size=16)
    for trace in traces:
        for name, array in parts(trace):
            state.update(f"{name} {array.shape}".encode())
            state.update(canonical(array).astype("<u4").tobytes())
    return state.hexdigest()


def replay_hint(case: Case, purity: Purity) -> str:
    """The flags that bring the case back."""
    models = "" if len(purity.shapes) == len(MODELS) else "".join(f" --model {name}" for name in purity.shapes)
    return f"replay: --replay {case.seed}{models}{' --plain-only' if purity.plain_only else ''}"


def check_cases(purity: Purity, tally: Tally, cases: list[Case], known: dict[str, str], loud: bool) -> dict[str, str]:
    """One fact for each case. known: digests of another build, which a case of the same seed must have too."""
    digests: dict[str, str] = {}
    for case in cases:
        if loud:
            print(f"     {case}\n{case.layout.yaml()}", end="")
        try:
            found, value = purity.run(case)
        except CommandError as error:
            tally.record(f"case {case.seed}", [str(case), str(error), replay_hint(case, purity)])
            continue
        if known.get(case.seed, value) != value:
            found.append(f"digest {value}, but {known[case.seed]} in the other build")
        digests[case.seed] = value
        complaints = [str(case), *found, replay_hint(case, purity)] if found else []
        tally.record(f"case {case.seed}", complaints, f"{value} {case}")
    return digests


def expect_failure(purity: Purity, cases: list[Case]) -> int:
    """Stops at the first case that differs. A command that fails shows nothing about bits: that is a failure here."""
    tally = Tally()
    for case in cases:
        try:
            found, _ = purity.run(case)
        except CommandError as error:
            tally.record(f"case {case.seed} runs", [str(case), str(error)])
            return tally.finish()
        if found:
            tally.record("the wrong build is found out", [], f"case {case.seed}: {found[0]}")
            return tally.finish()
        print(f"     case {case.seed} does not show it", flush=True)
    tally.record("the wrong build is found out", [f"none of {len(cases)} cases differs"])
    return tally.finish()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Row purity of real processes, case by case from a seed.")
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--replay", metavar="SEED.CASE", help="one case, as printed")
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD, else build/release)")
    parser.add_argument("--model", choices=sorted(MODELS), action="append", help="draw from these only; changes what a seed means")
    parser.add_argument("--plain-only", action="store_true", help="run every stage on cpu:plain")
    parser.add_argument("--expect-failure", action="store_true", help="succeed only if a case differs")
    parser.add_argument("--save", type=Path, help="write the digest of every case to this JSON file")
    parser.add_argument("--known", type=Path, help="digests that another build saved; equal seeds must agree")
    options = parser.parse_args()
    if options.replay and "." not in options.replay:
        parser.error("--replay wants SEED.CASE, as printed")
    if options.cases < 1:
        parser.error("--cases wants at least 1")
    return options


def models_asked_for(options: argparse.Namespace) -> list[str]:
    """In the order of the table, whatever the order of the flags."""
    return [name for name in MODELS if not options.model or name in options.model]


def draw_all(purity: Purity, options: argparse.Namespace) -> list[Case]:
    if options.replay:
        seed, index = options.replay.rsplit(".", 1)
        return [purity.draw(seed, int(index))]
    return [purity.draw(options.seed, index) for index in range(options.cases)]


def main() -> int:
    options, tally = parse(), Tally()
    if "cpu:avx2" not in DEVICES and not options.plain_only:
        tally.skip("cpu:avx2", "this processor has no AVX2, FMA and F16C")
        options.plain_only = True
    try:
        purity = Purity(Command(build_folder(options.build)), models_asked_for(options), options.plain_only)
    except CommandError as error:
        tally.record("the command is built", [str(error)])
        return tally.finish()
    cases = draw_all(purity, options)
    if options.expect_failure:
        return expect_failure(purity, cases)
    known = json.loads(options.known.read_text()) if options.known else {}
    digests = check_cases(purity, tally, cases, known, loud=bool(options.replay))
    if options.known:
        shared = len(known.keys() & digests.keys())
        tally.record("digests are those of the other build", [] if shared else ["no case in common"], f"{shared} in common")
    if options.save:
        options.save.write_text(json.dumps(digests, indent=1) + "\n")
    whole = hashlib.blake2b(json.dumps(digests).encode(), digest_size=16).hexdigest()
    print(f"seed {options.replay or options.seed}: {len(digests)} cases, all digests {whole}")
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
