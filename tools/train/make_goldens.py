#!/usr/bin/env python3
"""Makes tests/golden/shipped: what the training code says of shipped documents, for the pipeline to be compared with.

    venv/bin/python tools/train/make_goldens.py        # from the root of the checkout

For each document: the ids of the prompt by Hugging Face's `tokenizers`, and the training code's logits in float32 at a
few positions, the last one among them, where the answer begins.
"""
from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

import export

MODEL, DOCUMENTS, OUT = Path("examples/model"), Path("examples/documents"), Path("tests/golden/shipped")
CHOSEN = ("11", "22")  # ids of questions
POSITIONS = 8
BLOCK = 64


@torch.no_grad()
def main() -> None:
    model = export.open_model(MODEL)
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    questions = {q["id"]: q for q in map(json.loads, (DOCUMENTS / "questions.jsonl").read_text().splitlines())}
    tensors = {}
    for name in CHOSEN:
        q = questions[name]
        prompt = (DOCUMENTS / q["document"]).read_text(encoding="utf-8") + "\n\n" + q["question"]
        ids = torch.tensor(tokenizer.encode(prompt).ids)
        padded = torch.cat([ids, ids.new_zeros(-len(ids) % BLOCK)])
        positions = torch.linspace(0, len(ids) - 1, POSITIONS).long()
        tensors[f"{name}.ids"] = ids.int()
        tensors[f"{name}.positions"] = positions.int()
        tensors[f"{name}.logits"] = model.logits(model(padded[None])[0][positions])
    OUT.mkdir(parents=True, exist_ok=True)
    save_file(tensors, OUT / "expected.safetensors")


if __name__ == "__main__":
    main()
