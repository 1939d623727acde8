#!/usr/bin/env python3
"""Bits per byte on held-out prose: the model's, and a 5-gram model's that was counted on the same training prose.

    venv/bin/python tools/train/prose_bits.py --model examples/model --corpus CORPUS

The 5-gram model is interpolated Kneser-Ney over the same tokens. Both predict the same tokens of the same passages,
the model with what stands before them in the passage.
"""
from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import export
import prose
from model import Model

ORDER, DISCOUNT, BITS = 5, 0.8, 12  # an id has 12 bits: five fit into an integer of 64
PASSAGE, SKIPPED = 2048, 64  # tokens; the first of a passage are read but not counted


class Grams:
    """Kneser-Ney counts of one order: how often each context and each context with its next token was seen."""

    def __init__(self, ids: np.ndarray, order: int) -> None:
        keys = self.keys(ids, order)
        highest = order == ORDER
        self.gram, self.count = np.unique(keys, return_counts=True)
        if not highest:  # in how many different words' company, not how often
            longer = np.unique(self.keys(ids, order + 1))
            self.gram, self.count = np.unique(longer & ((1 << BITS * order) - 1), return_counts=True)
        self.context, first = np.unique(self.gram >> BITS, return_index=True)
        self.total = np.add.reduceat(self.count, first)
        self.kinds = np.diff(np.append(first, len(self.gram)))

    @staticmethod
    def keys(ids: np.ndarray, order: int) -> np.ndarray:
        key = np.zeros(len(ids) - order + 1, np.int64)
        for at in range(order):
            key = key << BITS | ids[at : len(ids) - order + 1 + at]
        return key

    def mix(self, keys: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """Probability of each gram, given what the next lower order says of it."""
        at = np.minimum(np.searchsorted(self.gram, keys), len(self.gram) - 1)
        seen = np.where(self.gram[at] == keys, self.count[at] - DISCOUNT, 0.0)
        at = np.minimum(np.searchsorted(self.context, keys >> BITS), len(self.context) - 1)
        known = self.context[at] == keys >> BITS
        return np.where(known, (seen + DISCOUNT * self.kinds[at] * lower) / self.total[at], lower)


def gram_bits(training: np.ndarray, passages: np.ndarray, vocab: int) -> float:
    """Of all counted tokens together."""
    probability: np.ndarray | float = 1.0 / vocab
    for order in range(1, ORDER + 1):
        grams = Grams(training, order)
        keys = np.concatenate([grams.keys(row, order)[SKIPPED - order + 1 :] for row in passages])
        probability = grams.mix(keys, probability)
    return float(-np.log2(probability).sum())


@torch.no_grad()
def model_bits(model: Model, passages: np.ndarray) -> float:
    bits = 0.0
    for row in passages:
        ids = torch.from_numpy(row).long()
        logits = model.logits(model(ids[None])[0][SKIPPED - 1 : -1])
        bits += F.cross_entropy(logits, ids[SKIPPED:], reduction="sum").item() / math.log(2)
    return bits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--passages", type=int, default=24)
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    model = export.open_model(args.model)
    encode = lambda texts: [np.array(tokenizer.encode("\n\n".join(text)).ids, np.int64) for text in texts]
    held_out = encode(prose.held_out(args.corpus))
    rows = np.concatenate([text[: len(text) // PASSAGE * PASSAGE].reshape(-1, PASSAGE) for text in held_out])
    passages = rows[np.linspace(0, len(rows) - 1, args.passages).astype(int)]
    size = sum(len(tokenizer.decode(row[SKIPPED:].tolist()).encode()) for row in passages)
    training = np.concatenate(encode(prose.training(args.corpus)))
    print(f"{len(passages)} passages, {size:,} bytes counted")
    print(f"5-gram: {gram_bits(training, passages, model.shape.vocab) / size:.3f} bits per byte")
    print(f"model:  {model_bits(model, passages) / size:.3f} bits per byte")


if __name__ == "__main__":
    main()
