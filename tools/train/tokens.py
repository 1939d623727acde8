"""Trains the model's tokenizer: byte-level BPE of 4,096 ids, in which each digit and each capital letter of a code is one token.

    venv/bin/python tools/train/tokens.py CORPUS examples/model

CORPUS is the folder of tools/tokenizer/corpus.py. A capitalised word is a piece without the space before it, so that a
name has the same tokens in a document and at the start of an answer. Trained on the prose for training and on records
with seeds for training. Writes tokenizer.json and tokenizer_config.json.
"""
from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import prose
from documents import Records
from records import KINDS

IDS = 4096
SPECIAL = ["<begin_of_document>", "<end_of_document>", "<beginning_of_sentence>", "<end_of_sentence>"]
END = IDS - 1
PATTERN = "|".join([
    r"[\p{Lu}\p{Lt}][\p{Ll}\p{M}]+",
    r" ?[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[\p{Lu}\p{Lt}]",
    r"\p{N}",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r"\s*[\r\n]+",
    r"\s+(?!\S)",
    r"\s+",
])
RECORDS = 200  # documents' worth of records that the tokenizer sees


def record_lines() -> list[str]:
    out = []
    for seed in range(RECORDS):
        records = Records(Random(seed), KINDS[seed % len(KINDS)], 60)
        out += [fact.line for fact in records.facts]
        out += [f"{q.text} {q.answer}" for q in records.questions(60)]
    return out


def pretokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


def train(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pretokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=IDS - len(SPECIAL), show_progress=False, special_tokens=[],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def main() -> None:
    corpus, folder = map(Path, sys.argv[1:3])
    texts = ["\n\n".join(pieces) for pieces in prose.training(corpus)]
    tokenizer = train(texts + ["\n".join(record_lines())])
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SPECIAL[2], "eos_token": SPECIAL[3],
              "unk_token": SPECIAL[1], "add_prefix_space": False}
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (("tokenizer.json", json.loads(tokenizer.to_str())), ("tokenizer_config.json", config)):
        (folder / name).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
