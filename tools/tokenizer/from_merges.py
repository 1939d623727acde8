#!/usr/bin/python3
"""Makes a tokenizer.json from a merges.txt alone, under the hypothesis of docs/model.md, section 7.

    tools/tokenizer/from_merges.py merges.txt OUT/tokenizer.json

Ids: 0 to 255 are the bytes in the order of their values, then come the merges in theirs. The pre-tokenizer's pattern is
that of o200k. `penstock` reads merges.txt itself; this is for other programs, to compare with. Needs nothing but Python."""
import json
import pathlib
import sys

PATTERN = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r"\s*[\r\n]+",
    r"\s+(?!\S)",
    r"\s+",
])


def byte_characters():
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x144))
    return [chr(byte) if byte in own else chr(next(others)) for byte in range(256)]


def make(merges_file, pairs_as_lists=True):
    lines = pathlib.Path(merges_file).read_text(encoding="utf-8").split("\n")
    merges = [line for line in lines if line and not line.startswith("#version")]
    tokens = byte_characters() + [merge.replace(" ", "") for merge in merges]
    split = {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]}, "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {token: id for id, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in merges] if pairs_as_lists else merges,
        },
    }


if __name__ == "__main__":
    pathlib.Path(sys.argv[2]).write_text(json.dumps(make(sys.argv[1]), ensure_ascii=False, indent=2), encoding="utf-8")
