#!/usr/bin/python3
"""The tokenizer beside Hugging Face's `tokenizers` and OpenAI's `tiktoken`: one thread, one vocabulary, one text, one run.

    tests/bench/tokenizer.py [--build DIR] [--data DIR] [--rounds N] [--text FILE] [--json]

The vocabulary is MiniMax-M1's: 199,744 merges (DIR/minimax-m1/merges.txt; --data defaults to ../shared/data). The text,
some 25 MB, is made of Debian packages, fetched with apt-get into build/bench-tokenizer: the installation guide in 19
languages, manual pages in German, Japanese, Russian, Ukrainian and Chinese, and the sources of Python; none of it twice.
The others are installed from PyPI into a virtual environment there. Documents of 100,000 bytes.

Figures are processor time. Every round asks all three one after the other, in an order that moves on; ratios are of one
round. All must give the same ids. Exit status 1: less than 3 times the faster of the others, or slower to open than
100 ms."""
from __future__ import annotations

import argparse
import glob
import gzip
import html
import json
import random
import re
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRATCH = ROOT / "build" / "bench-tokenizer"
PACKAGES = "installation-guide-amd64 manpages-de manpages-ja manpages-ru manpages-uk manpages-zh".split()
OTHERS = ["tokenizers==0.23.3", "tiktoken==0.14.0"]
PART_BYTES = 2_500_000  # the most of one language
BAR, OPEN_BAR_S = 3, 0.1

# Asked in the virtual environment: a round for each line on stdin, which names who is asked.
ASK = r'''
import json, os, sys, time
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
import tiktoken, tokenizers
path, text_path = sys.argv[1:]
whole = json.load(open(path, encoding="utf-8"))
own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
others = iter(range(0x100, 0x144))
byte_of = {chr(byte) if byte in own else chr(next(others)): byte for byte in range(256)}
ranks = {bytes(byte_of[c] for c in token): id for token, id in whole["model"]["vocab"].items()}
pattern = whole["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
fast = tiktoken.Encoding("m1", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
full = tokenizers.Tokenizer.from_file(path)
data, documents, at = open(text_path, "rb").read(), [], 0
while at < len(data):
    end = min(at + 100000, len(data))
    while end < len(data) and data[end] & 0xC0 == 0x80:
        end -= 1
    documents.append(data[at:end].decode())
    at = end
ways = {
    "tokenizers": lambda text: full.encode(text, add_special_tokens=False).ids,
    "tiktoken": fast.encode_ordinary,
    "open": None,
}
for line in sys.stdin:
    start, ids = time.process_time(), []
    if line.strip() == "open":
        tokenizers.Tokenizer.from_file(path)
    else:
        for document in documents:
            ids += ways[line.strip()](document)
    seconds = time.process_time() - start
    digest = 0
    for id in ids[::97]:
        digest = (digest * 1000003 + id) % 2**64
    print(json.dumps({"seconds": seconds, "ids": len(ids), "digest": digest}), flush=True)
'''


def run(*arguments, **options):
    return subprocess.run([str(argument) for argument in arguments], check=True, **options)


def prepare_venv():
    python = SCRATCH / "venv" / "bin" / "python"
    if not python.exists():
        run("/usr/bin/python3", "-m", "venv", SCRATCH / "venv")
        run(python, "-m", "pip", "install", "-q", *OTHERS)
    return python


def parts_of(root):
    """Language -> texts."""
    parts = {}
    for path in sorted(glob.glob(f"{root}/usr/share/doc/installation-guide-amd64/*/*.html")):
        text = re.sub(r"(?s)<head>.*?</head>|<[^>]*>", "", Path(path).read_text(encoding="utf-8"))
        parts.setdefault(f"guide-{path.split('/')[-2]}", []).append(html.unescape(text))
    for path in sorted(glob.glob(f"{root}/usr/share/man/*/man*/*.gz")):
        try:
            text = gzip.open(path, "rt", encoding="utf-8").read()
        except (UnicodeDecodeError, OSError):
            continue
        parts.setdefault(f"man-{path.split('/man/')[1].split('/')[0]}", []).append(text)
    for path in sorted(glob.glob("/usr/lib/python3*/**/*.py", recursive=True)):
        try:
            parts.setdefault("python", []).append(Path(path).read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            continue
    return parts


def prepare_text():
    path = SCRATCH / "text.txt"
    if path.exists():
        return path
    packages = SCRATCH / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    run("apt-get", "download", *PACKAGES, cwd=packages, stdout=subprocess.DEVNULL)
    for package in packages.glob("*.deb"):
        run("dpkg", "-x", package, packages / "root")
    pieces = []
    for texts in parts_of(packages / "root").values():
        used = 0
        for text in texts:
            if used > PART_BYTES:
                break
            used += len(text.encode())
            pieces.append(text)
    random.Random(1).shuffle(pieces)
    path.write_text("\n".join(pieces), encoding="utf-8")
    return path


class Others:
    def __init__(self, python, tokenizer, text):
        self.process = subprocess.Popen([str(python), "-c", ASK, str(tokenizer), str(text)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)  # fmt: skip

    def ask(self, who):
        self.process.stdin.write(who + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def ask_penstock(program, tokenizer, *what):
    return json.loads(run(program, tokenizer, *what, stdout=subprocess.PIPE).stdout)


def measure(program, tokenizer, text, others, rounds):
    """name -> seconds of each round; the number of ids that each gave."""
    seconds, ids = {}, {}
    names = ["penstock", "tokenizers", "tiktoken"]
    for turn in range(rounds):
        for name in names[turn % 3 :] + names[: turn % 3]:
            if name == "penstock":
                answer = ask_penstock(program, tokenizer, "encode", 1, text)
                answer["seconds"] = answer["seconds"][0]
            else:
                answer = others.ask(name)
            seconds.setdefault(name, []).append(answer["seconds"])
            ids.setdefault(name, set()).add((answer["ids"], answer["digest"]))
        seconds.setdefault("open", []).append(ask_penstock(program, tokenizer, "open", 1)["seconds"][0])
        seconds.setdefault("open, tokenizers", []).append(others.ask("open")["seconds"])
    return seconds, ids


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--text", type=Path, help="another text, UTF-8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    SCRATCH.mkdir(parents=True, exist_ok=True)
    tokenizer = SCRATCH / "tokenizer.json"
    run(ROOT / "tools" / "tokenizer" / "from_merges.py", given.data / "minimax-m1" / "merges.txt", tokenizer)
    text = given.text or prepare_text()
    others = Others(prepare_venv(), tokenizer, text)
    program = given.build / "tests" / "bench" / "bench-tokenizer"
    seconds, ids = measure(program, tokenizer, text, others, given.rounds)
    others.close()
    if len(set.union(*ids.values())) != 1:
        sys.exit(f"not the same ids: {ids}")
    megabytes = text.stat().st_size / 1e6
    fastest = [min(pair) for pair in zip(seconds["tokenizers"], seconds["tiktoken"])]
    ratios = [other / own for other, own in zip(fastest, seconds["penstock"])]
    figures = {
        "megabytes": megabytes,
        "megabytes_per_second": {name: megabytes / statistics.median(seconds[name]) for name in ids},
        "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "open_seconds": {name: statistics.median(seconds[name]) for name in ("open", "open, tokenizers")},
        "rounds": given.rounds,
    }
    if given.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, rate in figures["megabytes_per_second"].items():
            print(f"{name:<12}{rate:8.1f} MB/s")
        print("beside the faster of the others: {median:.2f} ({min:.2f}..{max:.2f})".format(**figures["ratio"]))
        for name, value in figures["open_seconds"].items():
            print(f"{name:<18}{value * 1e3:8.0f} ms")
    good = figures["ratio"]["median"] >= BAR and figures["open_seconds"]["open"] <= OPEN_BAR_S
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
