#!/usr/bin/env python3
"""Makes tests/golden/tokenizer: what Hugging Face's `tokenizers` answers, for the C tokenizer to be compared with.

    python3 -m venv venv && venv/bin/pip install tokenizers==0.23.3
    venv/bin/python tools/tokenizer/make_goldens.py        # from the root of the checkout

For the shipped tokenizer and for three small ones of other makes, trained here and stored beside the answers:

  gpt2    GPT-2's make: ByteLevel with its own pattern and a prefix space, merges as lists, "<|endoftext|>" in the
          vocabulary and in front of it
  cl100k  the make of converted tiktoken files: single digits isolated, then a pattern with (?i:…), with possessive
          repeats, behaviour Removed and invert, ids with a hole in front of the added tokens
  llama3  Llama 3's make: its pattern, ignore_merges over a vocabulary of which half has no merges, merges spelled in the
          older way, and added tokens with every flag

Texts are encoded with encode_special_tokens, as a document never becomes a special token in Penstock, and a few without
("added"), as the words of a prompt do. scripts.json has sentences in 16 scripts (the Universal Declaration of Human
Rights, article 1). The random texts draw
from the characters that had their category already in Unicode 3.2: the libraries compared know different versions."""
import json
import pathlib
import random
import sys
import unicodedata

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

SEED = 20241
OUT = pathlib.Path("tests/golden/tokenizer")
DOCUMENTS = pathlib.Path("examples/documents")
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
          r"|\s*[\r\n]|\s+(?!\S)|\s+")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
ADDED = [  # content, special, flags
    ("<|begin|>", True, ""), ("<|end|>", True, "rstrip"), ("<tool call>", False, ""), ("<mask>", True, "lstrip"),
    ("word", False, "single_word"), ("<tool", False, "normalized"), ("日本", False, "normalized single_word"),
    (" both ", False, "lstrip rstrip"), ("<|end|><|begin|>", False, ""),
]
ADDED_TEXTS = [
    "<|begin|>user<|end|>  \n next<|end|><|begin|>", "a  <mask> b<mask>", "word words word_ (word) sword word1 ½word wordⓐ é́word",
    "<tool <tool call> <tool call", "日本 日本語 x日本", "a  both  b both both ", "<|end|>", "", "<|end|><|begin|><mask>", "<|beg",
    "x<|endoftext|>y", "<end_of_sentence>\n<beginning_of_sentence>user", "<｜end▁of▁turn｜> <tool call>",
]
TEXTS = [
    "", " ", "  ", "\n", "\r\n\r\n", "\t\ttabs", "a", " a", "Hello, world!", "I'm he's they'll WE'VE don'T it'\u017f",
    "getName getHTTPResponse XMLHttpRequest2 snake_case CONSTANT_CASE", "1 22 333 4444 55555 3.14159 1,000,000",
    "trailing   ", "   leading", "a  b   c    d", "line\n\n\nline \n line\r\nline\t\n\t", "...!?—–-- //\n///\n\r\n/",
    "\u00a0nbsp\u2003em\u3000wide\u0085nel\u180emvs\u200bzwsp\ufeffbom\u2028ls\u2029ps", "\u0000\u0001\u001f\u007f\u0080",
    "naïve café Ångström ÆTHER ſtreſs ǅungla ᾈ", "e\u0301 a\u0308\u0327 \u0301\u0301", "Привет, мир! Ελληνικά ΟΔΟΣ",
    "漢字かな交じり文。中文标点，测试！", "العربية עברית हिन्दी ไทย", "👩‍👩‍👧‍👦 🇩🇪 👍🏽 🜁", "½ ² Ⅷ ٣٤٥ १२३ 𝟘𝟙", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐐀𐐨",
    "<end_of_sentence>", "x<|endoftext|>y <begin_of_document>\n<beginning_of_sentence>user name=user\n",
    "'S 'T 'RE 'VE 'M 'LL 'D 's't're", "a" * 47, "a" * 48, "a" * 49, "ab" * 40, "ABC" * 100, " " * 100, "\n" * 100,
    "-" * 200, "é" * 77, "the" * 200, "abcdefghijklmnopqrstuvwxyz" * 5,
]


def stable_characters():
    old = unicodedata.ucd_3_2_0
    return [chr(code) for code in range(0x110000)
            if old.category(chr(code)) == unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")]


def random_texts(count):
    draw = random.Random(SEED)
    everything = stable_characters()
    pools = ["abcdefgh", "ABCDEFGH", "0123456789", " ", " \t\n\r\u00a0\u2003\u3000", ".,;:!?'\"-/()", "äöüßéèÆøÅ", everything]
    texts = []
    for _ in range(count):
        runs = []
        for _ in range(draw.randint(1, 12)):
            pool = draw.choice(pools)
            runs += (draw.choice(pool) for _ in range(draw.randint(1, 6)))
        texts.append("".join(runs))
    return texts


def fnv1a(ids):
    """FNV-1a, 64 bits, over the ids as little-endian 32-bit integers."""
    digest = 0xCBF29CE484222325
    for id in ids:
        for byte in id.to_bytes(4, "little"):
            digest = (digest ^ byte) * 0x100000001B3 % 2**64
    return f"{digest:016x}"


def train(pre_tokenizer, ids, special):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=ids, show_progress=False, special_tokens=special, initial_alphabet=alphabet)
    names = ("ruth.txt", "penstock-inspection.txt")
    tokenizer.train_from_iterator([(DOCUMENTS / name).read_text(encoding="utf-8") for name in names] + TEXTS, trainer)
    return tokenizer


def gpt2():
    return train(pre_tokenizers.ByteLevel(add_prefix_space=True), 700, ["<|endoftext|>"])


def cl100k():
    tokenizer = train(pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\p{N}"), behavior="isolated"),
        pre_tokenizers.Split(Regex(CL100K), behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]), 600, [])
    whole = json.loads(tokenizer.to_str())
    whole["added_tokens"] = [
        dict(id=610 + i, content=name, single_word=False, lstrip=False, rstrip=False, normalized=False, special=special)
        for i, (name, special) in enumerate([("<|endoftext|>", True), ("<tool call>", False), ("<｜end▁of▁turn｜>", True)])]
    # Hugging Face gives added tokens the next free ids, so the hole comes from a vocabulary that already has them.
    whole["model"]["vocab"].update({token["content"]: token["id"] for token in whole["added_tokens"]})
    return Tokenizer.from_str(json.dumps(whole))


def llama3():
    tokenizer = train(pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]), 700, [])
    whole = json.loads(tokenizer.to_str())
    model = whole["model"]
    model["ignore_merges"] = True
    model["merges"] = model["merges"][: len(model["merges"]) // 2]
    for i, (content, special, flags) in enumerate(ADDED):
        token = dict(id=720 + i, content=content, special=special)
        token.update((flag, flag in flags.split()) for flag in ("single_word", "lstrip", "rstrip", "normalized"))
        whole["added_tokens"].append(token)
        model["vocab"][content] = token["id"]
    return Tokenizer.from_str(json.dumps(whole))


def with_older_merges(text):
    whole = json.loads(text)
    whole["model"]["merges"] = [" ".join(merge) for merge in whole["model"]["merges"]]
    return whole


def decodings(tokenizer, count):
    draw = random.Random(SEED + 1)
    known = sorted(tokenizer.get_vocab(with_added_tokens=True).values())
    for _ in range(count):
        ids = [draw.choice(known) for _ in range(draw.randint(1, 24))]
        ids += [draw.randrange(256) for _ in range(draw.randint(0, 8))]
        ids = [id for id in ids if id in set(known)]
        draw.shuffle(ids)
        yield {"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=True),
               "with_special": tokenizer.decode(ids, skip_special_tokens=False)}


def write_answers(name, path, tokenizer):
    tokenizer.encode_special_tokens = True
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    scripts = json.loads((OUT / "scripts.json").read_text(encoding="utf-8"))
    answers = {
        "tokenizer": path,
        "ids": max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1,
        "encodings": [{"text": text, "ids": encode(text)} for text in TEXTS + random_texts(120)],
        "scripts": [{"text": text, "ids": encode(text)} for text in scripts.values()],
        "added": [],
        "decodings": list(decodings(tokenizer, 60)),
        "documents": [],
    }
    for document in sorted(DOCUMENTS.glob("*.txt")):
        ids = encode(document.read_text(encoding="utf-8"))
        answers["documents"].append({"path": str(document), "count": len(ids), "fnv1a": fnv1a(ids)})
    tokenizer.encode_special_tokens = False
    answers["added"] = [{"text": text, "ids": encode(text)} for text in ADDED_TEXTS]
    lines = json.dumps(answers, ensure_ascii=True, separators=(",", ":")).replace('{"', '\n{"')
    (OUT / f"{name}.answers.json").write_text(lines.strip() + "\n", encoding="utf-8")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for name, make in (("gpt2", gpt2), ("cl100k", cl100k), ("llama3", llama3)):
        whole = with_older_merges(make().to_str()) if make is llama3 else json.loads(make().to_str())
        path = OUT / f"{name}.json"
        path.write_text(json.dumps(whole, separators=(",", ":")) + "\n", encoding="utf-8")
        write_answers(name, str(path), Tokenizer.from_file(str(path)))
    shipped = "examples/tokenizer/tokenizer.json"
    write_answers("shipped", shipped, Tokenizer.from_file(shipped))


if __name__ == "__main__":
    sys.exit(main())
