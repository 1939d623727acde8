#!/usr/bin/python3
"""The same ids as Hugging Face's `tokenizers`, asked live: tokenizer files of every make, random and adversarial strings.

    /usr/bin/python3 -m venv build/venv && build/venv/bin/pip install tokenizers==0.23.3
    tests/e2e/tokenizer_live.py [--strings N] [--seed N] [--data DIR]

Some files are trained here, one is made from MiniMax-M1's own merges (DIR/minimax-m1/merges.txt; --data defaults to
../shared/data). Without `tokenizers`, or without the merges, that part is skipped. Strings of tokenizers that are cut by
PCRE2 draw from the characters that had their category already in Unicode 3.2: the libraries know different versions.
Those that are cut by hand draw from all of Unicode, since their table was made from the library."""
from __future__ import annotations

import argparse
import glob
import importlib
import json
import random
import struct
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "tools" / "tokenizer"))
import from_merges  # noqa: E402
from e2e.command import build_folder  # noqa: E402
from reference.tally import Tally  # noqa: E402

CL100K_TAIL = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|" + CL100K_TAIL
QWEN2 = LLAMA3.replace("{1,3}", "")
CODE = r"[0-9]{1,2}|[a-z_]+|[A-Z][a-z]*|\p{L}|[ \t]+|\n+|."  # of nobody's make: PCRE2, and what it leaves between
ADDED = [  # content, special, flags
    ("<|begin|>", True, ""), ("<|end|>", True, "rstrip"), ("<tool call>", False, ""), ("<mask>", True, "lstrip"),
    ("word", False, "single_word"), ("<tool", False, "normalized"), ("日本", False, "normalized single_word"),
    (" both ", False, "lstrip rstrip"), ("<|end|><|begin|>", False, ""),
]
SCRIPTS = ROOT / "tests" / "golden" / "tokenizer" / "scripts.json"


def tokenizers_module():
    sys.path += glob.glob(str(ROOT / "build" / "venv" / "lib" / "python3*" / "site-packages"))
    try:
        return importlib.import_module("tokenizers")
    except ImportError:
        return None


def train(library, steps, ids=1200):
    pre = library.pre_tokenizers
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = pre.Sequence(steps)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=ids, show_progress=False, initial_alphabet=pre.ByteLevel.alphabet()
    )
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "examples" / "documents").glob("*.txt"))[:2]]
    texts += list(json.loads(SCRIPTS.read_text(encoding="utf-8")).values()) * 4
    tokenizer.train_from_iterator(texts, trainer)
    return json.loads(tokenizer.to_str())


def with_added(whole):
    first = max(whole["model"]["vocab"].values()) + 3
    for i, (content, special, flags) in enumerate(ADDED):
        token = {"id": first + i, "content": content, "special": special}
        token.update({flag: flag in flags.split() for flag in ("single_word", "lstrip", "rstrip", "normalized")})
        whole["added_tokens"].append(token)
        # The library gives added tokens the next free ids, so the hole comes from a vocabulary that has them already.
        whole["model"]["vocab"][content] = first + i
    return whole


def with_older_merges(whole):
    whole["model"]["merges"] = [" ".join(merge) for merge in whole["model"]["merges"]]
    return whole


def with_ignored_merges(whole):
    """Half of the merges gone, so that many words are tokens that no merge makes."""
    whole["model"]["merges"] = whole["model"]["merges"][: len(whole["model"]["merges"]) // 2]
    whole["model"]["ignore_merges"] = True
    return whole


def makes(library):
    """name -> (tokenizer.json, whether it is cut by hand)."""
    pre, regex = library.pre_tokenizers, library.Regex
    bytes_only = lambda: pre.ByteLevel(add_prefix_space=False, use_regex=False)  # noqa: E731
    split = lambda pattern: pre.Split(regex(pattern), behavior="isolated")  # noqa: E731
    return {
        "gpt2": (with_older_merges(train(library, [pre.ByteLevel(add_prefix_space=True)])), True),
        "gpt2-added": (with_added(train(library, [pre.ByteLevel(add_prefix_space=False)])), True),
        "llama3": (with_ignored_merges(train(library, [split(LLAMA3), bytes_only()])), True),
        "qwen2-added": (with_added(train(library, [split(QWEN2), bytes_only()])), True),
        "o200k-added": (with_added(train(library, [split(from_merges.PATTERN), bytes_only()])), True),
        "digits": (train(library, [pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False)]), False),
        "splits": (train(library, [split(r"\p{N}{1,3}"), split(r"[一-龥぀-ゟ゠-ヿ]+"), split(CODE), bytes_only()]), False),
    }


def random_strings(seed, count, stable):
    draw = random.Random(seed)
    old = unicodedata.ucd_3_2_0
    codes = [code for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    if stable:
        codes = [code for code in codes
                 if old.category(chr(code)) == unicodedata.category(chr(code)) not in ("Cn", "Co")]
    scripts = list(json.loads(SCRIPTS.read_text(encoding="utf-8")).values())
    pools = [
        "abcdefgh", "ABCDEFGH", "aA", "0123456789", " ", " ", " \t\n\r\u00a0\u2003\u3000\u0085", "\r\n", ".,;:!?'\"-/()",
        "äöüßéèÆøÅſǅǆ", "'sStTdDmM", "ʰʱªº漢字ابגד", "\u0301\u0308\u0903\u20dd", "½²Ⅷ٣१𝟘",
    ]  # fmt: skip
    words = ["'re", "'VE", "'ll", "'LL", "'d", "'\u017f", "don't", "I'M", " it's", "word", "getHTTPResponse", "  \n", "\n ", "//\n"]
    words += [content for content, _, _ in ADDED]
    for _ in range(count):
        parts = []
        for _ in range(draw.choice((1, 2, 3, 5, 8, 13))):
            kind = draw.random()
            if kind < 0.55:
                parts.append("".join(draw.choices(draw.choice(pools), k=draw.randint(1, 7))))
            elif kind < 0.75:
                parts.append(draw.choice(words))
            elif kind < 0.9:
                parts.append("".join(chr(draw.choice(codes)) for _ in range(draw.randint(1, 4))))
            else:
                text = draw.choice(scripts)
                at = draw.randrange(len(text))
                parts.append(text[at : at + draw.randint(1, 60)])
        yield "".join(parts)


def ask(pipe, path, mode, records):
    """What tokenizer-pipe answers to each record, as the bytes that it is."""
    given = b"".join(struct.pack("=I", len(record) // (4 if mode == "decode" else 1)) + record for record in records)
    output = subprocess.run([pipe, path, mode], input=given, stdout=subprocess.PIPE, check=True).stdout
    answers, at, size = [], 0, 1 if mode == "decode" else 4
    while at < len(output):
        (count,) = struct.unpack_from("=I", output, at)
        answers.append(output[at + 4 : at + 4 + size * count])
        at += 4 + size * count
    return answers


def ids_of(answer):
    return list(struct.unpack(f"={len(answer) // 4}i", answer))


def compare(tally, library, pipe, name, path, strings, modes):
    tokenizer = library.Tokenizer.from_file(str(path))
    texts = [string.encode() for string in strings]
    for mode in modes:
        tokenizer.encode_special_tokens = mode != "all"
        complaints = []
        answers = ask(pipe, path, mode, texts)
        for start in range(0, len(strings), 5000):
            expected = tokenizer.encode_batch(strings[start : start + 5000], add_special_tokens=False)
            for i, encoding in enumerate(expected, start):
                if ids_of(answers[i]) != encoding.ids and len(complaints) < 5:
                    complaints.append(f"{strings[i]!r}: {ids_of(answers[i])}, expected {encoding.ids}")
        tally.record(f"{name}_answers_as_tokenizers ({mode})", complaints, f"{len(strings)} strings")
    if modes != ["all"]:
        back = ask(pipe, path, "decode", ask(pipe, path, "none", texts))
        prefixed = json.loads(path.read_text(encoding="utf-8"))["pre_tokenizer"]
        wrong = [f"{text!r}: {got!r}" for text, got in zip(texts, back) if text != got]
        if "'add_prefix_space': True" not in str(prefixed):
            tally.record(f"{name}_decodes_what_it_encoded", wrong[:5], f"{len(texts)} strings")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD, else build/release)")
    parser.add_argument("--strings", type=int, default=30000, help="for each tokenizer (default 30000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    options, tally = parser.parse_args(), Tally()
    library = tokenizers_module()
    if not library:
        tally.skip("tokenizer_live", "no `tokenizers`: /usr/bin/python3 -m venv build/venv && build/venv/bin/pip install tokenizers==0.23.3")
        tally.finish()
        return 77
    pipe = build_folder(options.build) / "tests" / "unit" / "tokenizer" / "tokenizer-pipe"
    print(f"seed {options.seed}, tokenizers {library.__version__}")
    merges = options.data / "minimax-m1" / "merges.txt"
    with tempfile.TemporaryDirectory(prefix="penstock-live-") as folder:
        for name, (whole, by_hand) in makes(library).items():
            path = Path(folder) / f"{name}.json"
            path.write_text(json.dumps(whole), encoding="utf-8")
            strings = list(random_strings(options.seed, options.strings, stable=not by_hand))
            compare(tally, library, pipe, name, path, strings, ["ordinary", "all"])
        if not merges.exists():
            tally.skip("minimax_m1_answers_as_tokenizers", f"no {merges}")
            return tally.finish()
        path = Path(folder) / "tokenizer.json"
        path.write_text(json.dumps(from_merges.make(merges), ensure_ascii=False), encoding="utf-8")
        strings = list(random_strings(options.seed, 2 * options.strings, stable=False))
        compare(tally, library, pipe, "minimax_m1", path, strings, ["none"])
        texts = [string.encode() for string in strings]
        same = ask(pipe, path, "none", texts) == ask(pipe, merges.parent, "none", texts)
        tally.record("merges_alone_give_the_same_ids", [] if same else ["other ids than the tokenizer.json made of them"])
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
