#!/usr/bin/python3
"""Damaged checkpoints through the real command: exit 6 and the name of what is wrong, in little time and memory, and no
process, socket or output left. (Thousands more, without the command: tests/unit/loader/test_mutants.c.)

The cuts come from a seed, which is printed; --seed repeats them.
"""
from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Iterator

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import ROOT, Command, CommandError, build_folder  # noqa: E402
from reference.tally import Tally  # noqa: E402

GOLDEN = ROOT / "tests" / "golden"
SHARD, INDEX = "model.safetensors", "model.safetensors.index.json"
QKV = "model.layers.0.self_attn.qkv_proj.weight"
CUTS = 12  # at random, beside those at every kind of border
LIMIT_S = 30
GROWTH_KIB = 32 << 10  # beside what a good model takes, of any process of a run

Damage = Callable[[Path], None]


def read_header(path: Path) -> tuple[dict, bytes]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write_file(path: Path, header: object, data: bytes) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def in_header(change: Callable[[dict], object]) -> Damage:
    def damage(model: Path) -> None:
        header, data = read_header(model / SHARD)
        change(header)
        write_file(model / SHARD, header, data)

    return damage


def in_entry(name: str, **keys: object) -> Damage:
    return in_header(lambda header: header[name].update(keys))


def in_index(change: Callable[[dict], object]) -> Damage:
    def damage(model: Path) -> None:
        index = json.loads((model / INDEX).read_text())
        change(index["weight_map"])
        (model / INDEX).write_text(json.dumps(index))

    return damage


def in_config(**keys: object) -> Damage:
    def damage(model: Path) -> None:
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps({**config, **keys}))

    return damage


def replaced(name: str, content: bytes) -> Damage:
    return lambda model: (model / name).write_bytes(content) and None


def instead(name: str, make: Callable[[Path], object]) -> Damage:
    def damage(model: Path) -> None:
        (model / name).unlink()
        make(model / name)

    return damage


def header_length(value: int) -> Damage:
    def damage(model: Path) -> None:
        with (model / SHARD).open("r+b") as file:
            file.write(struct.pack("<Q", value))

    return damage


def twice(model: Path) -> None:
    header, data = read_header(model / SHARD)
    text = json.dumps(header)
    write_file(model / SHARD, (text[:-1] + f', "{QKV}": {json.dumps(header[QKV])}}}').encode(), data)


def overlap(header: dict) -> None:
    """One tensor lies where another does; both of the right size."""
    same = next(n for n, e in header.items() if n not in (QKV, "__metadata__") and e["shape"] == header[QKV]["shape"])
    header[same]["data_offsets"] = header[QKV]["data_offsets"]


def swap_shapes(header: dict) -> None:
    header[QKV]["shape"].reverse()


def swap_shards(places: dict) -> None:
    """Each shard has as many tensors as before."""
    first, *others = places
    other = next(name for name in others if places[name] != places[first])
    places[first], places[other] = places[other], places[first]


def sparse(bytes_: int) -> Damage:
    """A header as long as the limit allows, of nothing."""

    def damage(model: Path) -> None:
        with (model / SHARD).open("wb") as file:
            file.write(struct.pack("<Q", bytes_) + b"{")
            file.truncate(8 + bytes_)

    return damage


def cases() -> Iterator[tuple[str, str, Damage, str]]:
    """Name, the golden model that is damaged, how, and what the message says."""
    good, _ = read_header(GOLDEN / "nano" / SHARD)
    begin, end = good[QKV]["data_offsets"]
    rows, columns = good[QKV]["shape"]
    yield "a_tensor_of_another_shape", "nano", in_header(swap_shapes), QKV
    yield "a_tensor_one_row_short", "nano", in_entry(QKV, shape=[rows - 1, columns]), QKV
    yield "a_shape_of_rank_9", "nano", in_entry(QKV, shape=[1] * 9), QKV
    yield "an_overflowing_shape", "nano", in_entry(QKV, shape=[1 << 32, 1 << 32]), QKV
    yield "a_negative_size", "nano", in_entry(QKV, shape=[-rows, -columns]), QKV
    yield "a_size_that_is_text", "nano", in_entry(QKV, shape=[str(rows), columns]), QKV
    yield "a_dtype_of_half_the_size", "nano", in_entry(QKV, dtype="I8"), QKV
    yield "a_dtype_of_the_same_size_that_is_no_weight", "nano", in_entry(QKV, dtype="I16"), QKV
    yield "an_unknown_dtype", "nano", in_entry(QKV, dtype="Q4_K"), QKV
    yield "a_range_beyond_the_file", "nano", in_entry(QKV, data_offsets=[1 << 40, (1 << 40) + end - begin]), QKV
    yield "a_range_backwards", "nano", in_entry(QKV, data_offsets=[end, begin]), QKV
    yield "a_range_one_byte_on", "nano", in_entry(QKV, data_offsets=[begin + 1, end + 1]), "tensor"
    yield "a_range_of_real_numbers", "nano", in_entry(QKV, data_offsets=[begin + 0.5, end]), QKV
    yield "an_entry_without_dtype", "nano", in_header(lambda header: header[QKV].pop("dtype")), QKV
    yield "an_entry_that_is_null", "nano", in_header(lambda header: header.update({QKV: None})), QKV
    yield "a_tensor_left_out", "nano", in_header(lambda header: header.pop(QKV)), "belong to no tensor"
    yield "a_tensor_renamed", "nano", in_header(lambda header: header.update({"x": header.pop(QKV)})), QKV
    yield "a_tensor_twice", "nano", twice, QKV
    yield "two_tensors_in_one_place", "nano", in_header(overlap), "tensor"
    yield "a_name_with_an_escape_sequence", "nano", in_header(lambda h: h.update({"\x1b[2J": h.pop(QKV)})), "control character"
    yield "a_name_of_600_bytes", "nano", in_header(lambda h: h.update({"n" * 600: h.pop(QKV)})), "600 bytes"
    yield "metadata_that_is_a_list", "nano", in_header(lambda header: header.update(__metadata__=[1])), "__metadata__"
    yield "a_header_length_of_2_to_the_63", "nano", header_length(1 << 63), "header length 9223372036854775808"
    yield "a_header_length_of_all_ones", "nano", header_length((1 << 64) - 1), "header length 18446744073709551615"
    yield "a_header_length_of_0", "nano", header_length(0), "does not begin with '{'"
    yield "a_header_over_the_limit", "nano", sparse(100_000_001), "exceeds the limit"
    yield "a_deeply_nested_header", "nano", replaced(SHARD, struct.pack("<Q", 4000) + b'{"a":' + b"[" * 3995), "nested deeper"
    yield "an_empty_file", "nano", replaced(SHARD, b""), "has 0 bytes"
    yield "a_text_file", "nano", replaced(SHARD, b"<html>404</html>"), "header length"
    yield "a_fifo", "nano", instead(SHARD, os.mkfifo), "is not a regular file"
    yield "a_folder", "nano", instead(SHARD, Path.mkdir), "is not a regular file"
    yield "a_device", "nano", instead(SHARD, lambda path: path.symlink_to("/dev/zero")), "is not a regular file"
    yield "a_link_to_nothing", "nano", instead(SHARD, lambda path: path.symlink_to("nowhere")), SHARD
    yield "a_link_to_itself", "nano", instead(SHARD, lambda path: path.symlink_to(SHARD)), SHARD
    yield "no_weights", "nano", lambda model: (model / SHARD).unlink(), "has neither"
    yield "a_config_that_is_a_fifo", "nano", instead("config.json", os.mkfifo), "config.json: is not a regular file"
    yield "a_config_of_another_width", "nano", in_config(hidden_size=128), "tensor"
    yield "a_config_of_more_layers", "nano", in_config(num_local_experts=3000), "tensor"
    yield "a_config_of_a_huge_width", "nano", in_config(hidden_size=1 << 40), "hidden_size"
    yield "a_config_cut_short", "nano", replaced("config.json", b'{"model_type": "minimax_m1",'), "config.json: JSON"
    shard = "model-00001-of-00003.safetensors"
    yield "a_shard_that_is_missing", "duo", lambda model: (model / shard).unlink(), shard
    yield "a_shard_that_is_another", "duo", lambda m: shutil.copy(m / shard.replace("1-of", "2-of"), m / shard) and None, shard
    yield "an_index_that_names_a_missing_shard", "duo", in_index(lambda m: m.update(dict.fromkeys(m, "x"))), "/x: No such"
    yield "an_index_that_leaves_the_folder", "duo", in_index(
        lambda m: m.update(dict.fromkeys([*m][:1], f"../duo/{shard}"))), "expected the plain name"
    yield "an_index_with_an_absolute_path", "duo", in_index(
        lambda m: m.update(dict.fromkeys([*m][:1], "/etc/passwd"))), '"/etc/passwd", expected the plain name'
    yield "an_index_without_one_tensor", "duo", in_index(lambda m: m.pop([*m][0])), INDEX
    yield "an_index_with_one_more", "duo", in_index(lambda m: m.update({"more": [*m.values()][0]})), "tensor more"
    yield "an_index_in_which_two_are_swapped", "duo", in_index(swap_shards), INDEX
    yield "an_index_that_is_empty", "duo", in_index(dict.clear), "weight_map is empty"
    yield "an_index_that_is_a_folder", "duo", instead(INDEX, Path.mkdir), f"{INDEX}: is not a regular file"
    yield "an_index_that_names_itself", "duo", in_index(lambda m: m.update(dict.fromkeys(m, INDEX))), INDEX  # fmt: skip


def borders(path: Path) -> list[int]:
    """Every kind of place where a file may end: in the length, in the header, at and in the tensors."""
    header, data = read_header(path)
    size = path.stat().st_size
    offsets = sorted(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    begin = size - len(data)
    return [1, 7, 8, 9, begin - 1, begin, begin + offsets[0], begin + offsets[len(offsets) // 2] + 1, size - 1]


def cut_at(bytes_: int) -> Damage:
    return lambda model: os.truncate(model / SHARD, bytes_)


class Hostile:
    def __init__(self, build: Path) -> None:
        self._command = Command(build)
        self._runtime = self._command.scratch / "rt"
        self._runtime.mkdir(mode=0o700)
        (self._command.scratch / "ids.json").write_text("[[1, 2, 3]]")
        if complaint := self.ends("good", "nano", lambda _: None, 0, "") + self.ends("good", "duo", lambda _: None, 0, ""):
            raise CommandError("\n".join(complaint))
        self._good_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss

    def ends(self, name: str, model: str, damage: Damage, code: int, words: str) -> list[str]:
        folder, out = self._command.scratch / name, self._command.scratch / "out.safetensors"
        shutil.copytree(GOLDEN / model, folder)
        damage(folder)
        command = [self._command.binary, "logits", "--model", folder, "--ids", self._command.scratch / "ids.json", "--out", out]
        begin = time.monotonic()
        done = subprocess.run(command, capture_output=True, env={**os.environ, "XDG_RUNTIME_DIR": str(self._runtime)},
                              timeout=2 * LIMIT_S)  # fmt: skip
        took, said = time.monotonic() - begin, done.stderr.decode(errors="replace")
        found = [] if done.returncode == code else [f"exit status {done.returncode}, expected {code}"]
        found += [] if words in said else [f"does not say {words!r}"]
        found += [] if took < LIMIT_S else [f"took {took:.1f} s"]
        found += [] if out.exists() == (code == 0) else ["the output was written" if code else "no output"]
        found += [f"a socket folder is left: {path}" for path in (self._runtime / "penstock").glob("*")]
        out.unlink(missing_ok=True)
        shutil.rmtree(folder)
        return found + [f"| {line}" for line in said.splitlines()[-6:]] if found else []

    def refuses(self, name: str, model: str, damage: Damage, words: str) -> list[str]:
        return self.ends(name, model, damage, 6, words)

    def took_little_memory(self) -> list[str]:
        """The largest resident process of all the runs."""
        grown = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss - self._good_kib
        return [] if grown < GROWTH_KIB else [f"a process of a refused model took {grown} KiB more than with a good one"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path)
    parser.add_argument("--seed", type=int, default=1, help="of the random cuts")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    tally = Tally()
    hostile = Hostile(build_folder(options.build))
    for name, model, damage, words in cases():
        if options.only in name:
            tally.record(f"{name}_is_exit_6_by_name", hostile.refuses(name, model, damage, words))
    shard = GOLDEN / "nano" / SHARD
    size = shard.stat().st_size
    for at in borders(shard) + sorted(random.Random(options.seed).sample(range(10, size), CUTS)):
        if options.only in "cut":
            tally.record(f"a_file_cut_at_{at}_of_{size}_is_exit_6_by_name", hostile.refuses("cut", "nano", cut_at(at), SHARD))
    tally.record("refusing_takes_little_memory", hostile.took_little_memory())
    # Last: a header is read whole, and this one is as long as the limit lets it be.
    tally.record("a_header_of_100_MB_of_zeros_is_exit_6_by_name", hostile.refuses("long", "nano", sparse(100_000_000), SHARD))
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
