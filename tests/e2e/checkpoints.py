#!/usr/bin/python3
"""`penstock model inspect` and `penstock model verify` on whole, damaged and weightless checkpoints.

The published metadata of the 456-billion-parameter model, where ../shared/data has it, is inspected too; elsewhere that
fact is skipped. Each method of Checkpoints is a fact.
"""
from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import ROOT, TIMEOUT_S, Command, CommandError, build_folder  # noqa: E402
from e2e.runs import edit_json, facts_of, record_all  # noqa: E402
from reference import in_tree, safetensors_io  # noqa: E402
from reference.tally import Tally  # noqa: E402
from reference.vectors import FOLDER  # noqa: E402

PUBLISHED = ROOT.parent / "shared" / "data" / "minimax-m1"
NANO, DUO = FOLDER / "nano", FOLDER / "duo"
SHARD = "model-00001-of-00003.safetensors"


class Checkpoints:
    def __init__(self, build: Path) -> None:
        self._command = Command(build)
        self._scratch = self._command.scratch

    def _model(self, word: str, folder: Path, *options: object) -> subprocess.CompletedProcess[str]:
        words = [self._command.binary, "model", word, folder, *options]
        return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=TIMEOUT_S, cwd=self._scratch)

    def _json(self, word: str, folder: Path, code: int = 0) -> dict:
        done = self._model(word, folder, "--json")
        if done.returncode != code:
            raise CommandError(f"exit status {done.returncode}, expected {code}: {done.stderr}")
        return json.loads(done.stdout)

    def _says(self, done: subprocess.CompletedProcess[str], code: int, *words: str) -> list[str]:
        found = [] if done.returncode == code else [f"exit status {done.returncode}, expected {code}"]
        said = done.stdout + done.stderr
        found += [f"does not say {word!r}" for word in words if word not in said]
        return found + [f"| {line}" for line in said.splitlines()[-30:]] if found else []

    def _copy(self, name: str, source: Path = DUO) -> Path:
        return Path(shutil.copytree(source, self._scratch / name, ignore=shutil.ignore_patterns("expected*")))

    def inspect_draws_the_layers_and_counts_the_parts(self) -> list[str]:
        return self._says(self._model("inspect", NANO), 0, "LLLLLLLS   (L lightning 7, S softmax 1)", "BF16",
                          "404992 parameters", "logits       can be computed", "run          not: there is no tokenizer: neither tokenizer.json nor merges.txt")  # fmt: skip

    def inspect_knows_the_older_files_of_a_tokenizer(self) -> list[str]:
        folder = self._copy("merges", NANO)
        (folder / "merges.txt").write_text("h e\n", encoding="utf-8")
        alone = self._says(self._model("inspect", folder), 0, "tokenizer    merges.txt\n", "run          can be run")
        (folder / "vocab.json").write_text("{}", encoding="utf-8")
        return alone + self._says(self._model("inspect", folder), 0, "tokenizer    vocab.json and merges.txt\n")

    def verify_digests_the_older_files_of_a_tokenizer(self) -> list[str]:
        folder = self._copy("sums", NANO)
        (folder / "merges.txt").write_text("h e\n", encoding="utf-8")
        return self._says(self._model("verify", folder), 0, "  merges.txt\n")

    def inspect_counts_what_numpy_counts(self) -> list[str]:
        found = []
        for folder in (NANO, DUO, FOLDER / "shared"):
            told = self._json("inspect", folder)
            tensors = safetensors_io.read_checkpoint(folder)
            experts = sum(array.size for name, array in tensors.items() if ".experts." in name)
            pairs = {
                "parameters": (told["parts"]["all"]["parameters"], sum(array.size for array in tensors.values())),
                "experts": (told["parts"]["experts"]["parameters"], experts),
                "tensors": (told["tensors"], len(tensors)),
                "logits": (told["logits"], True), "faults": (told["faults"], []), "extra": (told["extra"], []),
            }  # fmt: skip
            found += [f"{folder.name}: {key} {a}, expected {b}" for key, (a, b) in pairs.items() if a != b]
        return found

    def inspect_knows_the_dialect_and_counts_the_same(self) -> list[str]:
        model = self._scratch / "in-tree"
        in_tree.convert(NANO, model)
        told, original = self._json("inspect", model), self._json("inspect", NANO)
        found = [] if (told["dialect"], told["names"]) == ("in-tree", "in-tree") else [f"{told['dialect']}, {told['names']}"]
        sizes = [{part: (sums["parameters"], sums["bytes"]) for part, sums in t["parts"].items()} for t in (told, original)]
        found += [] if sizes[0] == sizes[1] else [f"{sizes[0]} instead of {sizes[1]}"]
        return found + self._says(self._model("inspect", model), 0, "of transformers' own tree", "rotates the whole head")

    def inspect_needs_no_weights(self) -> list[str]:
        model = self._copy("weightless")
        for shard in model.glob("*.safetensors"):
            shard.unlink()
        told, whole = self._json("inspect", model), self._json("inspect", DUO)
        found = [] if told["files_absent"] == 3 else [f"{told['files_absent']} files are absent"]
        found += [] if told["parts"]["all"]["parameters"] == whole["parts"]["all"]["parameters"] else ["counts others"]
        found += [] if told["index_bytes"] == whole["parts"]["all"]["bytes"] else [f"index: {told['index_bytes']} bytes"]
        return found + ([] if "3 of 3 files" in told["logits"] else [f"logits: {told['logits']}"])

    def inspect_says_why_a_model_cannot_be_run(self) -> list[str]:
        model = self._copy("llama", NANO)
        edit_json(model / "config.json", lambda config: config.update(model_type="llama"))
        return self._says(self._model("inspect", model), 0, 'logits       not: ', 'model_type is "llama", expected')

    def inspect_of_nothing_is_exit_6(self) -> list[str]:
        return self._says(self._model("inspect", self._scratch / "nowhere"), 6, "nowhere: has neither config.json nor")

    def verify_reads_a_whole_checkpoint(self) -> list[str]:
        done = self._model("verify", DUO)
        files = [line.split("  ")[1] for line in done.stdout.splitlines()]
        found = [] if files[:-1] == sorted(files[:-1]) and len(files) == 6 else [f"files: {files}"]
        return found + self._says(done, 0, "is whole: 5 files, 1651 tensors, 1824640 values, all finite", "the disk gave")

    def sums_are_those_of_xxhsum(self) -> list[str]:
        model, sums = self._copy("summed"), self._scratch / "duo.xxh"
        found = self._says(self._model("verify", model, "--write-sums", sums), 0)
        done = subprocess.run(["xxhsum", "-c", str(sums)], cwd=model, capture_output=True, text=True, timeout=TIMEOUT_S)
        return found + self._says(done, 0, f"{SHARD}: OK")

    def a_changed_bit_is_found_by_its_sum(self) -> list[str]:
        model, sums = self._copy("flipped"), self._scratch / "flipped.xxh"
        found = self._says(self._model("verify", model, "--write-sums", sums), 0)
        found += self._says(self._model("verify", model, "--sums", sums), 0, "is whole")
        data = bytearray((model / SHARD).read_bytes())
        data[-100] ^= 1
        (model / SHARD).write_bytes(data)
        found += self._says(self._model("verify", model), 0, "is whole")  # finite still: only the sum can tell
        done = self._model("verify", model, "--sums", sums)
        return found + self._says(done, 6, f"{SHARD} has the digest ", "1 fault in all")

    def a_value_that_is_not_finite_is_named_and_nothing_is_summed(self) -> list[str]:
        model, sums = self._copy("infinite", NANO), self._scratch / "infinite.xxh"
        tensors = safetensors_io.read_stored(model / "model.safetensors")
        for name in ("model.norm.weight", "lm_head.weight"):
            bits = tensors[name].bits.copy()
            bits.reshape(-1)[-1] = 0x7F80
            tensors[name] = safetensors_io.Bf16(bits)
        safetensors_io.write(model / "model.safetensors", tensors)
        done = self._model("verify", model, "--write-sums", sums)
        found = ["sums were written"] if sums.exists() else []
        return found + self._says(done, 6, "tensor lm_head.weight holds 0 NaN and 1 Inf, the first at [383, 63]",
                                  "tensor model.norm.weight holds 0 NaN and 1 Inf, the first at [63]", "2 faults in all")  # fmt: skip

    def a_cut_file_a_missing_one_and_a_missing_tensor_are_named(self) -> list[str]:
        model = self._copy("cut")
        data = (model / SHARD).read_bytes()
        (model / SHARD).write_bytes(data[:-10])
        found = self._says(self._model("verify", model), 6, f"{SHARD}: ", "1 fault in all")
        (model / SHARD).unlink()
        found += self._says(self._model("verify", model), 6, f"{SHARD}: is not there", "1 fault in all")
        model = self._copy("lacking", NANO)
        tensors = safetensors_io.read_stored(model / "model.safetensors")
        tensors.pop("model.layers.4.input_layernorm.weight")
        safetensors_io.write(model / "model.safetensors", tensors)
        return found + self._says(self._model("verify", model), 6, "tensor model.layers.4.input_layernorm.weight is missing")

    def faults_are_in_json_too(self) -> list[str]:
        told = self._json("verify", self._scratch / "lacking", 6)
        faults = [(fault["kind"], fault["where"]) for fault in told["faults"]]
        found = [] if faults == [("missing", "model.layers.4.input_layernorm.weight")] else [f"faults: {faults}"]
        return found + ([] if told["good"] is False and len(told["files"]) == 2 else [f"good: {told['good']}"])

    def _published_model_has_its_published_size(self) -> list[str]:
        told = self._json("inspect", PUBLISHED)
        shape = (told["shape"]["layers_unit"], told["shape"]["layers_times"])
        found = [] if shape == ("LLLLLLLS", 10) else [f"layers: {shape}"]
        pairs = {
            "parameters": (told["parts"]["all"]["parameters"], 456_089_655_296),
            "bytes": (told["index_bytes"], 912_210_767_872), "tensors": (told["tensors"], 8243),
            "files": (told["files"], 413), "extra": (told["extra"], []), "faults": (told["faults"], []),
        }  # fmt: skip
        return found + [f"{key}: {a}, expected {b}" for key, (a, b) in pairs.items() if a != b]


def main() -> int:
    parser = argparse.ArgumentParser(description="model inspect and model verify.")
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD, else build/release)")
    parser.add_argument("--only", metavar="WORD", help="only facts whose name holds this")
    options = parser.parse_args()
    tally = Tally()
    try:
        checkpoints = Checkpoints(build_folder(options.build))
    except CommandError as error:
        tally.record("the_command_is_built", [str(error)])
        return tally.finish()
    facts = list(facts_of(checkpoints))
    if not shutil.which("xxhsum"):
        facts.remove(checkpoints.sums_are_those_of_xxhsum)
        tally.skip("sums_are_those_of_xxhsum", "xxhsum is not installed")
    record_all(tally, facts, options.only)
    name = "the_published_model_has_its_published_size"
    if not PUBLISHED.is_dir():
        tally.skip(name, f"{PUBLISHED} is not there")
    else:
        tally.record(name, checkpoints._published_model_has_its_published_size())
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
