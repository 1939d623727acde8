#!/usr/bin/python3
"""Quantised models: what `model quantize` writes, and what stages compute with it, through the real command.

The judge is the float64 reference over the stored integers and scales (reference/quantised.py), never our own output;
and models that numpy quantised are read as well as ours. Each method of Quantised is a fact.
"""
from __future__ import annotations

import argparse
import filecmp
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import ROOT, TIMEOUT_S, Command, CommandError, Layout, LayersStage, Options, bit_differences, build_folder, cut  # noqa: E402
from e2e.runs import edit_json, facts_of, record_all  # noqa: E402
from reference import in_tree, minimax, quantised, safetensors_io  # noqa: E402
from reference.safetensors_io import Bf16, Tensor  # noqa: E402
from reference.tally import Tally  # noqa: E402
from reference.vectors import FOLDER, LIMITS, Golden, largest_difference  # noqa: E402

NANO = FOLDER / "nano"
KEPT = ("embed_tokens", "lm_head", "block_sparse_moe.gate.", "coefficient", "norm")
W1, Q = "model.layers.0.block_sparse_moe.experts.0.w1.weight", "model.layers.7.self_attn.q_proj.weight"
Change = Callable[[dict[str, Tensor]], None]


def is_linear(name: str) -> bool:
    return not any(word in name for word in KEPT)


def raw(tensor: Tensor) -> bytes:
    return (tensor.bits if isinstance(tensor, Bf16) else tensor).tobytes()


def is_expert(name: str) -> bool:
    return ".experts." in name


class Quantised:
    def __init__(self, build: Path) -> None:
        self._command = Command(build)
        self._scratch = self._command.scratch
        self._made: dict[tuple[str, int, str], Path] = {}

    def _run(self, *words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(self._command.binary), *map(str, words)], capture_output=True, text=True, timeout=TIMEOUT_S)

    def _quantize(self, source: Path, out: Path, bits: int, *words: object) -> str:
        done = self._run("model", "quantize", source, out, "--bits", bits, *words)
        if done.returncode:
            raise CommandError(f"exit status {done.returncode}: {done.stderr}")
        return done.stdout

    def _golden(self, name: str, bits: int, what: str) -> Path:
        """A golden model that the command quantised, once."""
        if (name, bits, what) not in self._made:
            out = self._scratch / f"{name}-{bits}-{what}"
            self._quantize(FOLDER / name, out, bits, "--what", what)
            self._made[name, bits, what] = out
        return self._made[name, bits, what]

    # What is computed

    def _agrees(self, model: Path, golden: Golden, layout: Layout, options: Options = Options()) -> list[str]:
        """Logits within the limits of the golden vectors: integers times scales are no less exact than floats."""
        sequences = [golden.ids(64), golden.ids(257)]
        actual, reference = self._command.logits(model, sequences, layout, options), minimax.Model(model)
        found = []
        for trace, ids in zip(actual.traces, sequences):
            difference = largest_difference(trace.logits, reference.forward(ids).logits)
            if difference > LIMITS[golden.name].logits:
                found.append(f"{model.name}: {len(ids)} tokens: differs by {difference:.3g}, limit {LIMITS[golden.name].logits:.3g}")
        return found

    def logits_are_those_of_the_stored_integers(self) -> list[str]:
        found = []
        for name in ("nano", "duo", "shared"):
            for bits in (8, 4):
                for what in ("linear", "experts"):
                    golden = Golden(name)
                    found += self._agrees(self._golden(name, bits, what), golden, cut(golden.layers, 2), Options(batch_rows=100))
        return found

    def a_model_that_numpy_quantised_is_computed_as_well(self) -> list[str]:
        found, golden = [], Golden("nano")
        for bits, chosen in ((8, is_linear), (4, is_linear), (4, is_expert)):
            model = self._scratch / f"numpy-{bits}-{chosen.__name__}"
            quantised.convert(NANO, model, bits, chosen)
            found += self._agrees(model, golden, cut(golden.layers, 1))
        return found

    def router_and_head_as_integers_are_computed_too(self) -> list[str]:
        model = self._scratch / "numpy-all"
        quantised.convert(NANO, model, 8, lambda name: "norm" not in name and "embed" not in name)
        return self._agrees(model, Golden("nano"), cut(8, 1))

    def no_layout_changes_a_bit(self) -> list[str]:
        found = []
        for name, bits in (("nano", 8), ("nano", 4), ("shared", 4)):
            model, golden = self._golden(name, bits, "linear"), Golden(name)
            sequences, layers = [golden.ids(257), golden.ids(7)], golden.layers
            first = self._command.logits(model, sequences, cut(layers, 1), Options(batch_rows=600))
            for layout, options in ((cut(layers, layers), Options(batch_rows=33, decode_from=200)), (cut(layers, 2), Options(batch_rows=3))):
                other = self._command.logits(model, sequences, layout, options)
                for one, two in zip(other.traces, first.traces):
                    found += [f"{model.name}: {difference}" for difference in bit_differences(one, two)]
        return found

    def plain_kernels_have_the_same_bits(self) -> list[str]:
        found = []
        for bits in (8, 4):
            model, ids = self._golden("nano", bits, "linear"), [Golden("nano").ids(64)]
            fast = self._command.logits(model, ids, cut(8, 1))
            plain = self._command.logits(model, ids, Layout((LayersStage(0, 7, device="cpu:plain"),), head_device="cpu:plain"))
            found += bit_differences(fast.traces[0], plain.traces[0])
        return found

    def what_is_left_of_a_last_word_is_not_looked_at(self) -> list[str]:
        source, clean, dirty = (self._scratch / f"odd{ending}" for ending in ("", "-4", "-tail"))
        words = {"hidden": 36, "layers": 2, "softmax-every": 2, "heads": 2, "head-dim": 18, "rotary-dim": 6, "inner": 21,
                 "experts": 2, "vocab": 50}  # fmt: skip
        done = self._run("model", "synth", source, *(word for pair in words.items() for word in (f"--{pair[0]}", pair[1])))
        if done.returncode:
            return [done.stderr]
        self._quantize(source, clean, 4)
        shutil.copytree(clean, dirty)
        tensors = safetensors_io.read_checkpoint_stored(dirty)
        for name, words_of in list(tensors.items()):
            if name.endswith("_packed"):
                left = words_of.shape[1] * 8 - int(tensors[name.replace("_packed", "_shape")][1])
                spoilt = np.array(words_of)
                spoilt[:, -1] |= np.int32(-1) << np.int32(4 * (8 - left)) if left else np.int32(0)
                tensors[name] = spoilt
        for file in dirty.glob("model*"):
            file.unlink()
        safetensors_io.write(dirty / "model.safetensors", tensors)
        ids = [np.arange(40, dtype=np.int32)]
        return bit_differences(*(self._command.logits(model, ids, cut(2, 1)).traces[0] for model in (dirty, clean)))

    # What is written

    def restored_weights_are_as_near_as_they_can_be(self) -> list[str]:
        """int8: within half a step, but for the scale's own rounding. int4: no worse than by the largest magnitude."""
        found = []
        for name in ("nano", "shared"):
            plain = safetensors_io.read_checkpoint(FOLDER / name)
            for bits in (8, 4):
                stored = safetensors_io.read_checkpoint(self._golden(name, bits, "linear"))
                now = quantised.expand(stored)
                for weight in filter(is_linear, plain):
                    scales = stored[f"{weight}_scale"].astype(np.float64)
                    step = np.repeat(scales, quantised.GROUP, axis=1)[:, : plain[weight].shape[1]]
                    difference = np.abs(now[weight] - plain[weight])
                    # A scale in bf16 may be 2^-9 too small: the largest weight is then 127 · 2^-9 = 0.25 steps off more.
                    if bits == 8 and (difference > 0.76 * step).any():
                        found.append(f"{name}: {weight}: {(difference / step).max():.3g} steps off")
                    simple = plain[weight] - quantised.restored(*quantised.quantize(plain[weight], 4))
                    if bits == 4 and np.square(difference).sum() > 1.001 * np.square(simple).sum():
                        found.append(f"{name}: {weight}: worse than the largest magnitude's scale")
        return found

    def what_is_not_quantised_is_copied_to_the_byte(self) -> list[str]:
        found = []
        for what, chosen in (("linear", is_linear), ("experts", is_expert)):
            before = safetensors_io.read_checkpoint_stored(FOLDER / "duo")
            after = safetensors_io.read_checkpoint_stored(self._golden("duo", 4, what))
            for name, tensor in before.items():
                if chosen(name) != (name not in after):
                    found.append(f"{what}: {name} is {'still' if name in after else 'no longer'} as it was")
                elif not chosen(name) and raw(tensor) != raw(after[name]):
                    found.append(f"{what}: {name} has other bytes")
        return found

    def files_are_those_of_the_source(self) -> list[str]:
        source, out = FOLDER / "duo", self._golden("duo", 8, "linear")
        names = {file.name for file in source.glob("model*")}
        found = [] if {file.name for file in out.glob("model*")} == names else ["other names of files"]
        where = [json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"] for folder in (source, out)]
        return found + [f"{name} lies in {where[1][name]}" for name, file in where[0].items() if where[1][name] != file]

    def the_same_source_gives_the_same_bytes(self) -> list[str]:
        found = []
        for bits in (8, 4):
            again = self._scratch / f"again-{bits}"
            self._quantize(FOLDER / "duo", again, bits)
            first = self._golden("duo", bits, "linear")
            found += [f"{bits} bits: {file.name}" for file in first.iterdir() if not filecmp.cmp(file, again / file.name, shallow=False)]
        return found

    def fused_tensors_become_the_published_ones(self) -> list[str]:
        fused, out = self._scratch / "fused", self._scratch / "fused-4"
        in_tree.convert(NANO, fused)
        self._quantize(fused, out, 4)
        ours, theirs = (safetensors_io.read_checkpoint(model) for model in (out, self._golden("nano", 4, "linear")))
        return [name for name in theirs if name not in ours or not np.array_equal(ours[name], theirs[name])]

    def the_report_has_the_errors_of_the_stored_integers(self) -> list[str]:
        out, report, found = self._scratch / "reported", self._scratch / "report.json", []
        table = self._quantize(NANO, out, 4, "--report", report)
        plain, now = safetensors_io.read_checkpoint(NANO), quantised.expand(safetensors_io.read_checkpoint(out))
        said = {tensor["name"]: tensor for tensor in json.loads(report.read_text())["tensors"]}
        if set(said) != set(filter(is_linear, plain)):
            found.append("the report is of other tensors")
        for name, tensor in said.items():
            difference = now[name] - plain[name].astype(np.float64)
            relative = np.linalg.norm(difference) / np.linalg.norm(plain[name].astype(np.float64))
            if abs(relative - tensor["relative_error"]) > 1e-5 or abs(np.abs(difference).max() - tensor["largest_error"]) > 1e-6:
                found.append(f"{name}: {tensor}, seen {relative:.9g} and {np.abs(difference).max():.9g}")
        return found + ([] if "lightning attention" in table and "experts" in table else [table])

    def the_plan_counts_its_bytes(self) -> list[str]:
        found = []
        for bits in (8, 4):
            model = self._golden("nano", bits, "linear")
            done = self._run("plan", "-m", model, "--json")
            if done.returncode:
                return [done.stderr]
            said, tensors = json.loads(done.stdout)["model"], safetensors_io.read_checkpoint_stored(model)
            stored = sum(len(raw(tensor)) for name, tensor in tensors.items() if not name.endswith("_shape"))
            found += [] if said["bytes"] == stored else [f"{said['bytes']} bytes, stored are {stored}"]
            found += [] if said["expert_dtype"] == f"I{bits}" else [f"experts of {said['expert_dtype']}"]
        return found

    def a_run_says_in_what_numbers_it_computed(self) -> list[str]:
        model, out, text = self._scratch / "box-4", self._scratch / "box-out", self._scratch / "note.txt"
        text.write_text("The ship made fast at noon.")
        self._quantize(ROOT / "examples/model", model, 4, "--what", "experts")
        done = self._run("run", text, "-m", model, "-q", "When?", "-o", out, "--set", "generation.max_tokens=4")
        if done.returncode:
            return [done.stderr]
        said = json.loads((out / "summary.json").read_text())["numeric_mode"]
        return [] if said.endswith(", int4 in groups of 64") else [said]

    def inspect_and_verify_find_it_whole(self) -> list[str]:
        found = []
        for bits in (8, 4):
            for verb in ("inspect", "verify"):
                done = self._run("model", verb, self._golden("shared", bits, "linear"), "--json")
                found += [done.stderr] if done.returncode else []
                if verb == "inspect" and not done.returncode:
                    said = json.loads(done.stdout)
                    found += [f"{key}: {said[key]}" for key in ("faults", "extra") if said.get(key)]
        return found

    # Refusals

    def _refused(self, words: tuple[object, ...], status: int, *expected: str) -> list[str]:
        done = self._run(*words)
        found = [] if done.returncode == status else [f"exit status {done.returncode}, expected {status}"]
        found += [f"stderr does not say {word!r}" for word in expected if word not in done.stderr]
        return found + [f"| {line}" for line in done.stderr.splitlines()[-3:]] if found else []

    def _damaged(self, name: str, bits: int, change: Change) -> Path:
        model = self._scratch / name
        quantised.convert(NANO, model, bits, is_linear)
        tensors = safetensors_io.read_checkpoint_stored(model)
        change(tensors)
        safetensors_io.write(model / "model.safetensors", tensors)
        return model

    def _not_loaded(self, name: str, bits: int, change: Change, *words: str) -> list[str]:
        """Neither the pipeline nor inspect accepts it; both say why."""
        model, ids = self._damaged(name, bits, change), self._scratch / "few.json"
        ids.write_text("[[1, 2, 3]]")
        found = self._refused(("logits", "-m", model, "--ids", ids, "--out", self._scratch / "few.safetensors"), 6, *words)
        return found + self._refused(("model", "verify", model), 6, *words)

    def missing_scales_are_named(self) -> list[str]:
        def drop(tensors: dict[str, Tensor]) -> None:
            tensors.pop(f"{W1}_scale")

        words = f"tensor {W1}_scale is missing, expected it with shape [32, 1]"
        return self._not_loaded("no-scale", 8, drop, words) + self._not_loaded("no-scale-4", 4, drop, words)

    def scales_of_another_shape_are_refused(self) -> list[str]:
        def widen(tensors: dict[str, Tensor]) -> None:
            tensors[f"{W1}_scale"] = np.ones((32, 2), dtype=np.float32)

        return self._not_loaded("wide-scale", 8, widen, f"{W1}_scale has shape [32, 2], expected [32, 1]")

    def scales_that_are_integers_are_refused(self) -> list[str]:
        def whole(tensors: dict[str, Tensor]) -> None:
            tensors[f"{W1}_scale"] = np.ones((32, 1), dtype=np.int32)

        return self._not_loaded("whole-scale", 4, whole, f"{W1}_scale is stored as I32, expected F32, BF16 or F16")

    def too_few_words_are_refused(self) -> list[str]:
        def shorten(tensors: dict[str, Tensor]) -> None:
            tensors[f"{W1}_packed"] = np.ascontiguousarray(tensors[f"{W1}_packed"][:, :7])

        return self._not_loaded("short", 4, shorten, f"{W1}_packed has shape [32, 7], expected [32, 8]")

    def a_weight_as_integers_and_as_floats_is_refused(self) -> list[str]:
        def double(tensors: dict[str, Tensor]) -> None:
            tensors[W1] = np.zeros((32, 64), dtype=np.float32)

        return self._not_loaded("both", 4, double, f"has both tensor {W1} and tensor {W1}_packed")

    def an_embedding_of_integers_is_refused(self) -> list[str]:
        def whole(tensors: dict[str, Tensor]) -> None:
            tensors["model.embed_tokens.weight"] = np.zeros((384, 64), dtype=np.int8)

        return self._not_loaded("embedding", 8, whole, "model.embed_tokens.weight is stored as I8, expected F32, BF16 or F16")

    def integers_without_a_word_in_the_config_are_refused(self) -> list[str]:
        model = self._scratch / "silent"
        quantised.convert(NANO, model, 8, is_expert)
        edit_json(model / "config.json", lambda config: config.pop("quantization_config"))
        return self._refused(("model", "verify", model), 6, "is stored as I8, expected F32, BF16 or F16")

    def a_group_size_of_0_is_refused(self) -> list[str]:
        model = self._scratch / "group-0"
        quantised.convert(NANO, model, 8, is_expert)
        edit_json(model / "config.json",
                  lambda c: c["quantization_config"]["config_groups"]["group_0"]["weights"].update(group_size=0))  # fmt: skip
        return self._refused(("model", "verify", model), 6, "quantization_config: config_groups.group_0: group_size is 0, expected 64")

    def verify_finds_a_scale_that_is_no_number(self) -> list[str]:
        def spoil(tensors: dict[str, Tensor]) -> None:
            scales = np.array(tensors[f"{Q}_scale"])
            scales[3, 0] = np.nan
            tensors[f"{Q}_scale"] = scales

        words = f"tensor {Q}_scale holds 1 NaN and 0 Inf, the first at [3, 0]"
        return self._refused(("model", "verify", self._damaged("nan", 8, spoil)), 6, words)

    def quantize_refuses_what_it_cannot_do(self) -> list[str]:
        def spoil(tensors: dict[str, Tensor]) -> None:
            weight = np.array(tensors[Q])
            weight[2, 5] = np.inf
            tensors[Q] = weight

        taken, new, bad = self._golden("nano", 8, "linear"), self._scratch / "new", self._scratch / "inf"
        config = json.loads((NANO / "config.json").read_text())
        tensors: dict[str, Tensor] = dict(safetensors_io.read_checkpoint(NANO))
        spoil(tensors)
        in_tree.write_checkpoint(bad, config, tensors)
        found = self._refused(("model", "quantize", taken, new), 6, "is quantised already")
        found += self._refused(("model", "quantize", NANO, taken), 2, "is not empty, expected a new or an empty directory")
        found += self._refused(("model", "quantize", bad, new), 6, f"tensor {Q} holds a value that is not finite")
        found += self._refused(("model", "quantize", self._scratch / "nowhere", new), 6, "nowhere/config.json")
        return found + ([f"{new} is there"] if new.exists() or list(self._scratch.glob("new.partial*")) else [])

    def a_killed_quantize_leaves_nothing_that_loads(self) -> list[str]:
        """Killed as soon as it writes; where it was quicker than that, what it left is whole."""
        source, found = self._scratch / "many", []
        done = self._run("model", "synth", source, "--layers", 24, "--shard-size", "1MB")
        if done.returncode:
            return [done.stderr]
        for turn in range(4):
            out = self._scratch / f"killed-{turn}"
            process = subprocess.Popen([str(self._command.binary), "model", "quantize", str(source), str(out), "--bits", "4"],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
            while process.poll() is None and len(list(self._scratch.glob(f"killed-{turn}.partial-*/model*"))) <= 5 * turn:
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
            process.wait()
            for left in [*self._scratch.glob(f"killed-{turn}.partial-*"), out]:
                loads = left.exists() and self._run("model", "verify", left).returncode == 0
                if loads != (left == out and out.exists()):
                    found.append(f"{left.name} {'loads' if loads else 'does not load'}")
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD, else build/release)")
    parser.add_argument("--only", metavar="WORD", help="only facts whose name holds this")
    options = parser.parse_args()
    tally = Tally()
    try:
        suite = Quantised(build_folder(options.build))
    except CommandError as error:
        tally.record("the_command_is_built", [str(error)])
        return tally.finish()
    record_all(tally, list(facts_of(suite)), options.only)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
