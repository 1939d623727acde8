#!/usr/bin/env python3
"""Trains the tokenizer that is shipped in examples/tokenizer: byte-level BPE, 4,096 ids, made like MiniMax-M1's.

    python3 -m venv venv && venv/bin/pip install tokenizers==0.23.3
    venv/bin/python tools/tokenizer/train.py examples/tokenizer examples/documents/*.txt corpus/*.txt

where corpus/ holds what tools/tokenizer/corpus.py makes. Ids are given as in the vocabulary of the large model: 0 to 255
are the bytes in the order of their values, then come the merges in theirs, and the special tokens stand last. The
pre-tokenizer's pattern is that of o200k. Writes tokenizer.json and tokenizer_config.json."""
import json
import pathlib
import sys

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

IDS = 4096
SPECIAL = ["<begin_of_document>", "<end_of_document>", "<beginning_of_sentence>", "<end_of_sentence>"]
PATTERN = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r"\s*[\r\n]+",
    r"\s+(?!\S)",
    r"\s+",
])
# What every prompt says and no novel does.
TEMPLATE = "\nuser name=user\nai name=assistant\nsystem ai_setting=assistant\nQuestion: Answer: <think>\n</think>\n" * 400


def trained_merges(files):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    trainer = trainers.BpeTrainer(vocab_size=IDS - len(SPECIAL), show_progress=False, special_tokens=[],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    texts = [pathlib.Path(file).read_text(encoding="utf-8") for file in files]
    tokenizer.train_from_iterator(texts + [TEMPLATE], trainer)
    return json.loads(tokenizer.to_str())["model"]["merges"]


def byte_characters():
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x144))
    return [chr(byte) if byte in own else chr(next(others)) for byte in range(256)]


def main():
    folder, files = pathlib.Path(sys.argv[1]), sys.argv[2:]
    merges = trained_merges(files)
    vocabulary = {character: id for id, character in enumerate(byte_characters())}
    for left, right in merges:
        vocabulary.setdefault(left + right, len(vocabulary))
    added = [{"id": len(vocabulary) + i, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for i, name in enumerate(SPECIAL)]
    split = {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
             "vocab": vocabulary, "merges": [" ".join(merge) for merge in merges]}
    whole = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
             "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]}, "post_processor": None,
             "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
             "model": model}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<beginning_of_sentence>",
              "eos_token": "<end_of_sentence>", "unk_token": "<end_of_document>", "add_prefix_space": False}
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (("tokenizer.json", whole), ("tokenizer_config.json", config)):
        (folder / name).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


main()
