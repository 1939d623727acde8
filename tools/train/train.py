#!/usr/bin/env python3
"""Trains the model. See README.md beside this file for the recipe, the data and the cost.

    python3 tools/train/train.py --corpus CORPUS --tokenizer examples/model/tokenizer.json --out DIR --steps 6000

Writes DIR as a checkpoint with published names (export.py), and DIR/log.jsonl. `--init DIR` starts from such a checkpoint.
"""
from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

import documents
import export
import prose
from model import Model, Shape
from samples import Batch, Prose, Stream, Writer, batch

# Weights of the losses beside that of answers, which is an option. The first token of an answer says which record it is
# and is by far the hardest: it counts again.
WEIGHTS = {"starts": 1.0, "texts": 0.25, "repeats": 0.5, "balance": 0.03}


def losses(model: Model, b: Batch) -> tuple[dict[str, Tensor], Tensor]:
    """Mean losses by name, and for each place of an answer whether the best token is the right one."""
    final, balance = model(b.ids)
    flat = b.ids.reshape(-1)
    places = torch.cat([b.answers, b.texts, b.repeats])
    logits = model.logits(final[places])
    each = F.cross_entropy(logits, flat[places + 1], reduction="none")
    parts = each.split([len(b.answers), len(b.texts), len(b.repeats)])
    right = logits[: len(b.answers)].argmax(-1) == flat[b.answers + 1]
    copied = (logits[len(b.answers) + len(b.texts) :].argmax(-1) == flat[b.repeats + 1]).float()
    means = {name: part.mean() if len(part) else each.new_zeros(()) for name, part in zip(("answers", "texts", "repeats"), parts)}
    means["starts"] = parts[0][b.starts].mean() if len(parts[0]) else each.new_zeros(())
    means["balance"] = balance.mean()
    means["unbalance"] = balance.max().detach()
    means["copied"] = copied.mean() if len(copied) else torch.full((), float("nan"), device=each.device)
    return means, right


def rate(step: int, total: int, warm: int) -> float:
    """Linear up, flat, then linear down to a fiftieth over the last 40 %."""
    if step < warm:
        return (step + 1) / warm
    left = (total - step) / total
    return max(0.02, min(1.0, left / 0.4))


def optimizer(model: Model, args: argparse.Namespace) -> torch.optim.Optimizer:
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": args.decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=args.rate, betas=(0.9, 0.95), eps=1e-15, fused=args.device == "cuda")


def move(b: Batch, device: str) -> Batch:
    return Batch(*(t.to(device, non_blocking=True) for t in (b.ids, b.answers, b.first, b.starts, b.texts, b.repeats)))


def whole_answers(b: Batch, right: Tensor) -> tuple[int, int, int, int]:
    """Of the first questions and of all: how many answers are right to the last token, of how many."""
    out = []
    ends = (b.answers[1:] != b.answers[:-1] + 1).nonzero().flatten() + 1
    for span, first in zip(right.tensor_split(ends.cpu()), b.first.tensor_split(ends.cpu())):
        out.append((bool(span.all()), bool(first[0])))
    firsts = [ok for ok, first in out if first]
    return sum(firsts), len(firsts), sum(ok for ok, _ in out), len(out)


@torch.no_grad()
def evaluate(model: Model, args: argparse.Namespace, length: int) -> dict[str, int]:
    """Answers on documents with test seeds and held-out prose that greedy decoding would get right: of the first questions
    of each document, and of all."""
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    writer = Writer(tokenizer, Prose(prose.held_out(args.corpus), tokenizer))
    sums = [0, 0, 0, 0]
    for number in range(args.eval_batches):
        b = move(batch(writer, documents.TEST + length, number, length, max(args.tokens, length), 0.0), args.device)
        _, right = losses(model, b)
        sums = [a + c for a, c in zip(sums, whole_answers(b, right))]
    return dict(zip(("first right", "first", "all right", "all"), sums))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder of tools/tokenizer/corpus.py")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="a checkpoint to start from")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--begin", type=float, default=0.0, help="where in the curriculum to begin, 0 to 1")
    parser.add_argument("--tokens", type=int, default=65536, help="of a step")
    parser.add_argument("--longest", type=int, default=32768, help="row that is trained on")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--warm", type=int, default=200, help="steps")
    parser.add_argument("--decay", type=float, default=0.05)
    parser.add_argument("--answers", type=float, default=1.0, help="weight of the loss of answers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after so long, wherever it is")
    parser.add_argument("--save-every", type=int, default=2000, help="steps")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) - 2))
    parser.add_argument("--eval", default="1024,2048,8192,32768")
    parser.add_argument("--eval-batches", type=int, default=4)
    parser.add_argument("--shape", default="{}", help="JSON: fields of Shape that differ")
    return parser.parse_args()


class Log:
    """Means of what the steps say, every fifty steps a line of log.jsonl, and some of those to the terminal."""

    def __init__(self, folder: Path) -> None:
        self.file = (folder / "log.jsonl").open("w")
        self.begin = self.since = time.monotonic()
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def seconds(self) -> float:
        return time.monotonic() - self.begin

    def add(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach().nan_to_num()
        self.count += 1

    def end_step(self, step: int, length: int, last: bool) -> None:
        if self.count < 50 and step and not last:
            return
        now = time.monotonic()
        means = {name: round(value.item() / self.count, 4) for name, value in self.sums.items()}
        line = {"step": step, "length": length, **means, "ms": round(1000 * (now - self.since) / self.count, 1)}
        self.write({**line, "s": round(self.seconds(), 1)}, shown=step % 200 < 50 or last)
        self.sums, self.since, self.count = {}, now, 0

    def write(self, line: dict, shown: bool = True) -> None:
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        if shown:
            print(json.dumps(line), flush=True)


def train_step(model: Model, adam: torch.optim.Optimizer, b: Batch, weights: dict[str, float]) -> dict[str, Tensor]:
    means, right = losses(model, b)
    adam.zero_grad(set_to_none=True)
    sum(weight * means[name] for name, weight in weights.items()).backward()
    means["norm"] = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    means["right"] = right[b.starts].float().mean() if len(right) else right.new_zeros((), dtype=torch.float32)
    adam.step()
    return means


def batches(args: argparse.Namespace) -> torch.utils.data.DataLoader:
    """`--steps` batches. A run that begins inside the curriculum does its rest."""
    total = round(args.steps / (1 - args.begin))
    stream = Stream(args.tokenizer, args.corpus, args.seed, range(total - args.steps, total), total, args.tokens, args.longest)
    ahead = 4 if args.workers else None
    return torch.utils.data.DataLoader(stream, batch_size=None, num_workers=args.workers, prefetch_factor=ahead)


def train(model: Model, args: argparse.Namespace, log: Log) -> None:
    adam, weights = optimizer(model, args), {"answers": args.answers, **WEIGHTS}
    for step, b in enumerate(batches(args)):
        for group in adam.param_groups:
            group["lr"] = args.rate * rate(step, args.steps, args.warm)
        log.add(train_step(model, adam, move(b, args.device), weights))
        late = log.seconds() > args.seconds
        log.end_step(step, b.ids.shape[1], late or step == args.steps - 1)
        if (step + 1) % args.save_every == 0:
            export.save(model, args.out, args.tokenizer)
        if late:
            print(f"stopped after {step + 1} steps", flush=True)
            return


def main() -> None:
    args = parse()
    torch.manual_seed(args.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    args.out.mkdir(parents=True, exist_ok=True)
    log = Log(args.out)
    cuda = args.device == "cuda"
    model = Model(Shape(**json.loads(args.shape)), torch.bfloat16 if cuda else torch.float32, compiled=cuda)
    if args.init:
        export.load(model, args.init)
    model.to(args.device)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    train(model, args, log)
    export.save(model, args.out, args.tokenizer)
    for length in (int(word) for word in args.eval.split(",") if word):
        log.write({"length": length, **evaluate(model, args, length), "s": round(log.seconds(), 1)})


if __name__ == "__main__":
    sys.exit(main())
