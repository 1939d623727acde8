#!/usr/bin/env python3
"""What rounding the weights to int8 would cost in answers: the same questions, beside the weights as stored.

Every matrix of the mode is rounded to 255 levels with one scale for each output row (the largest magnitude becomes 127) and
put back as floats; then greedy answers are counted on generated documents with test seeds and held-out prose, with the
training code. Modes: the experts only, or all but router, norms, embeddings and head. This measures the rounding alone:
Penstock itself does not hold int8 weights yet.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

import export
import train
from model import Model

KEPT = ("norm.weight", "block_sparse_moe.gate.weight", "embed_tokens.weight", "lm_head.weight")
MODES = {
    "as stored": lambda name: False,
    "experts": lambda name: ".experts." in name,
    "all but router, norms, embeddings, head": lambda name: not name.endswith(KEPT),
}


def rounded(weight: Tensor) -> Tensor:
    scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / 127
    return (weight / scale).round() * scale


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder of tools/tokenizer/corpus.py")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--lengths", default="1024,2048,8192,32768")
    parser.add_argument("--batches", type=int, default=4, dest="eval_batches")
    parser.add_argument("--tokens", type=int, default=65536, help="of a batch")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    args.tokenizer = args.model / "tokenizer.json"
    shape = export.open_model(args.model).shape
    for mode, chosen in MODES.items():
        model = Model(shape, torch.bfloat16 if args.device == "cuda" else torch.float32)
        export.load(model, args.model)
        for name, place in export.places(model).items():
            if chosen(name):
                place.copy_(rounded(place))
        model.to(args.device)
        for length in map(int, args.lengths.split(",")):
            counts = train.evaluate(model, args, length)
            print(f"{mode}, {length} tokens: {counts['all right']} of {counts['all']} right "
                  f"({100 * counts['all right'] / counts['all']:.2f} %)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
