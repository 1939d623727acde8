#!/usr/bin/python3
"""One request that decodes 20,000 tokens: memory stays flat but for the key/value cache that the formula names.

Two runs, of few and of many tokens. What the `layers` processes take more must be the cache of the tokens more; what
any other process takes more is at most what ids and text of those tokens are.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import CommandError, build_folder  # noqa: E402
from e2e.runs import Workplace, peak_memory, records  # noqa: E402
from reference.tally import Tally  # noqa: E402

KV_HEADS, HEAD_DIM = 2, 64
SHAPE = ("--layers", 2, "--softmax-every", 2, "--hidden", 64, "--heads", 2, "--head-dim", HEAD_DIM, "--kv-heads", KV_HEADS,
         "--rotary-dim", 32, "--inner", 32, "--experts", 2, "--positions", 65536)  # fmt: skip
KV_BYTES_PER_TOKEN = 2 * KV_HEADS * HEAD_DIM * 4
FEW, MANY = 1000, 20000
TOLERANCE = 0.02
OTHERS_BYTES = 2 << 20  # ids of 4 bytes and text of about as many, with what growing arrays hold beside


def run(place: Workplace, document: Path, tokens: int) -> dict[str, int]:
    out = f"out-{tokens}"
    running = place.start([document], out, "--set", f"generation.max_tokens={tokens}", "--set", "limits.context=32768")
    peaks = peak_memory(running, limit_s=1200)
    complaints = running.end().expect(0)
    if complaints:
        raise CommandError("\n".join(complaints))
    (record,) = records(place.folder / out / "results.jsonl")
    got = record["response"]["body"]["usage"]["completion_tokens"]
    if got != tokens:
        raise CommandError(f"{got} answer tokens, expected {tokens}")
    return peaks


def compare(tally: Tally, few: dict[str, int], many: dict[str, int]) -> None:
    grown = {name: many[name] - few[name] for name in few}
    layers = sum(bytes for name, bytes in grown.items() if name.startswith("layers-"))
    formula = KV_BYTES_PER_TOKEN * (MANY - FEW)
    note = f"{layers / 1e6:.2f} MB more, the formula says {formula / 1e6:.2f} ({layers / formula - 1:+.2%})"
    tally.record("layers_grow_by_the_key_value_cache_only", [] if abs(layers / formula - 1) <= TOLERANCE else [note], note)
    others = {name: bytes for name, bytes in grown.items() if not name.startswith("layers-")}
    note = ", ".join(f"{name} {bytes / 1e6:+.2f} MB" for name, bytes in others.items())
    tally.record("the_other_processes_stay_flat", [] if max(others.values()) <= OTHERS_BYTES else [note], note)


def main() -> int:
    parser = argparse.ArgumentParser(description="A long answer, and its memory against the formula.")
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD, else build/release)")
    options, tally = parser.parse_args(), Tally()
    try:
        place = Workplace(build_folder(options.build), SHAPE, endless=True)
        document = place.write_documents(1, 2000) / "part-0.txt"
        few = run(place, document, FEW)
        compare(tally, few, run(place, document, MANY))
    except CommandError as error:
        tally.record("a_long_answer_is_generated", [str(error)])
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
