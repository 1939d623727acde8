#!/usr/bin/python3
"""A long document through `penstock run`, and what it costs in memory: the key/value cache of the softmax layers.

    long_document.py                  64K tokens against 16K
    long_document.py --slow           256K tokens against 16K
    long_document.py --tokens N       N tokens against 16K

The resident memory of the `layers` processes at N tokens, less that at 16K, must equal the formula: softmax layers x 2
x key/value heads x head width x 4 bytes for each token more. Lightning layers hold the same state at any length.
"""
from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import CommandError, build_folder  # noqa: E402
from e2e.runs import EXAMPLES, Workplace, peak_memory, records  # noqa: E402
from reference.tally import Tally  # noqa: E402

LAYERS, SOFTMAX_EVERY, KV_HEADS, HEAD_DIM = 8, 8, 1, 64
# One softmax layer and one head: the square of the length is what a long document costs in time.
SHAPE = ("--layers", LAYERS, "--softmax-every", SOFTMAX_EVERY, "--hidden", 64, "--heads", 1, "--head-dim", HEAD_DIM,
         "--kv-heads", KV_HEADS, "--rotary-dim", 32, "--inner", 32, "--experts", 2, "--positions", 300000)  # fmt: skip
BASE_TOKENS = 16384
SLOW_TOKENS = 262144
ANSWER_TOKENS = 100  # enough decoding to see the memory that the whole document takes
TOLERANCE = 0.02
KV_BYTES_PER_TOKEN = LAYERS // SOFTMAX_EVERY * 2 * KV_HEADS * HEAD_DIM * 4


@dataclass(frozen=True)
class Cost:
    tokens: int  # of which the cache holds keys and values
    peak_bytes: int  # resident in the `layers` processes together
    seconds: float


def write_document(place: Workplace, tokens: int) -> Path:
    """About this many tokens; the run says how many there are."""
    text = "".join(path.read_text() for path in sorted((EXAMPLES / "documents").glob("*.txt")))
    bytes_per_token = 3.6  # of these texts with the shipped tokenizer
    wanted = int(tokens * bytes_per_token)
    path = place.folder / f"{tokens}.txt"
    path.write_text((text * (wanted // len(text) + 1))[:wanted])
    return path


def run(place: Workplace, tokens: int, limit_s: float) -> Cost:
    out = f"out-{tokens}"
    # Few small batches under way: how many happen to wait between two stages is memory too.
    settings = (f"generation.max_tokens={ANSWER_TOKENS}", "limits.sequences=1", "limits.context=300000", "limits.window=3",
                "limits.batch_rows=256")  # fmt: skip
    options = [word for setting in settings for word in ("--set", setting)]
    running = place.start([write_document(place, tokens)], out, *options)
    peaks = peak_memory(running, limit_s)
    complaints = running.end().expect(0)
    if complaints:
        raise CommandError("\n".join(complaints))
    (record,) = records(place.folder / out / "results.jsonl")
    usage = record["response"]["body"]["usage"]
    if usage["completion_tokens"] != ANSWER_TOKENS:
        raise CommandError(f"{usage['completion_tokens']} answer tokens, expected {ANSWER_TOKENS}")
    seconds = json.loads((place.folder / out / "summary.json").read_text())["work_seconds"]
    layers = sum(bytes for name, bytes in peaks.items() if name.startswith("layers-"))
    return Cost(usage["total_tokens"], layers, seconds)


def check_memory(tally: Tally, base: Cost, long: Cost) -> None:
    grown, formula = long.peak_bytes - base.peak_bytes, KV_BYTES_PER_TOKEN * (long.tokens - base.tokens)
    off = grown / formula - 1
    note = (f"{base.peak_bytes / 1e6:.2f} MB at {base.tokens} tokens, {long.peak_bytes / 1e6:.2f} MB at {long.tokens}: "
            f"{grown / 1e6:.2f} MB more, the formula says {formula / 1e6:.2f} ({off:+.2%})")  # fmt: skip
    tally.record("memory_grows_by_the_key_value_cache_only", [] if abs(off) <= TOLERANCE else [note], note)


def main() -> int:
    parser = argparse.ArgumentParser(description="A long document, and its memory against the formula.")
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD, else build/release)")
    parser.add_argument("--tokens", type=int, default=65536, help="about how many (default: 65536)")
    parser.add_argument("--slow", action="store_true", help=f"{SLOW_TOKENS} tokens")
    parser.add_argument("--limit", type=float, default=1800, metavar="SECONDS", help="for one run (default: 1800)")
    options, tally = parser.parse_args(), Tally()
    tokens = SLOW_TOKENS if options.slow else options.tokens
    if tokens < 2 * BASE_TOKENS:
        parser.error(f"--tokens wants at least {2 * BASE_TOKENS}")
    try:
        place = Workplace(build_folder(options.build), SHAPE, endless=True)
        base = run(place, BASE_TOKENS, options.limit)
        long = run(place, tokens, options.limit)
        within = abs(long.tokens / tokens - 1) < 0.1
        tally.record(f"a_document_of_{tokens}_tokens_is_answered",
                     [] if within else [f"the document has {long.tokens} tokens: correct bytes_per_token"],
                     f"{long.tokens} tokens in {long.seconds:.1f} s")  # fmt: skip
        check_memory(tally, base, long)
    except CommandError as error:
        tally.record("long_documents_are_processed", [str(error)])
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
