#!/usr/bin/python3
"""Checkpoints in the dialect of transformers' own tree, through the real command.

A golden checkpoint that was rewritten in that dialect (reference/in_tree.py) answers with the very bits of the
original, and says how transformers itself would differ. Names or fields of both dialects at once are refused by name.
Each method of Dialects is a fact.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import TIMEOUT_S, Command, CommandError, Options, bit_differences, build_folder, cut  # noqa: E402
from e2e.runs import edit_json, facts_of, record_all  # noqa: E402
from reference import in_tree, safetensors_io  # noqa: E402
from reference.safetensors_io import Tensor  # noqa: E402
from reference.tally import Tally  # noqa: E402
from reference.vectors import FOLDER, Golden  # noqa: E402

NANO = FOLDER / "nano"


class Dialects:
    def __init__(self, build: Path) -> None:
        self._command = Command(build)
        self._scratch = self._command.scratch

    def _equals(self, name: str, label: str, **how: Any) -> list[str]:
        """The rewritten checkpoint has the original's bits, cut into one stage, two, and one for each layer."""
        golden, rewritten = Golden(name), self._scratch / label
        in_tree.convert(golden.folder, rewritten, **how)
        sequences = [golden.ids(64), golden.ids(golden.lengths[0])]
        expected = self._command.logits(golden.folder, sequences, cut(golden.layers, 2))
        found = []
        for stages in (1, 2, golden.layers):
            actual = self._command.logits(rewritten, sequences, cut(golden.layers, stages), Options(batch_rows=33), golden.folder)
            for one, other in zip(actual.traces, expected.traces):
                found += [f"{stages} stages: {difference}" for difference in bit_differences(one, other)]
        return found

    def nano_in_fused_tensors_has_the_bits_of_the_original(self) -> list[str]:
        return self._equals("nano", "nano-fused")

    def duo_in_fused_tensors_over_three_files_has_the_bits_of_the_original(self) -> list[str]:
        return self._equals("duo", "duo-fused", shards=3)

    def a_shared_expert_beside_fused_tensors_has_the_bits_of_the_original(self) -> list[str]:
        return self._equals("shared", "shared-fused")

    def published_names_under_the_fields_of_the_dialect_have_the_bits_of_the_original(self) -> list[str]:
        return self._equals("nano", "nano-names", official_names=True, old_fields=True)

    def fused_tensors_under_the_published_fields_have_the_bits_of_the_original(self) -> list[str]:
        golden, mixed = Golden("nano"), self._scratch / "nano-mixed"
        config = json.loads((NANO / "config.json").read_text())
        in_tree.write_checkpoint(mixed, config, in_tree.fuse(safetensors_io.read_checkpoint_stored(NANO), 4))
        expected = self._command.logits(NANO, [golden.ids(64)])
        return bit_differences(self._command.logits(mixed, [golden.ids(64)]).traces[0], expected.traces[0])

    def _logits(self, model: Path) -> subprocess.CompletedProcess[str]:
        ids = self._scratch / "few.json"
        ids.write_text("[[1, 2, 3]]")
        words = [self._command.binary, "logits", "-m", model, "--ids", ids, "--out", self._scratch / "few.safetensors"]
        return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=TIMEOUT_S)

    def the_differences_are_said(self) -> list[str]:
        model = self._scratch / "said"
        in_tree.convert(FOLDER / "shared", model)
        said = self._logits(model).stderr
        words = ("is in the dialect of transformers' own tree (model_type minimax)", "rotates the whole head",
                 "has no shared expert")  # fmt: skip
        found = [f"stderr does not say {word!r}: {said}" for word in words if word not in said]
        return found + (["a published checkpoint is warned of"] if "warning" in self._logits(NANO).stderr else [])

    def constants_of_the_dialect_are_passed_over(self) -> list[str]:
        def add(tensors: dict[str, Tensor]) -> None:
            tensors["model.layers.0.self_attn.slope_rate"] = tensors["model.norm.weight"]

        done = self._logits(self._changed("constants", add))
        return [] if done.returncode == 0 else [done.stderr]

    def _changed(self, name: str, change: Callable[[dict[str, Tensor]], None], fused: bool = True) -> Path:
        """nano with other tensors."""
        config = json.loads((NANO / "config.json").read_text())
        tensors = safetensors_io.read_checkpoint_stored(NANO)
        if fused:
            config, tensors = in_tree.convert_config(config), in_tree.fuse(tensors, config["num_local_experts"])
        change(tensors)
        in_tree.write_checkpoint(self._scratch / name, config, tensors)
        return self._scratch / name

    def _refused(self, model: Path, *words: str) -> list[str]:
        done = self._logits(model)
        found = [] if done.returncode == 6 else [f"exit status {done.returncode}, expected 6"]
        found += [f"stderr does not say {word!r}" for word in words if word not in done.stderr]
        return found + [f"| {line}" for line in done.stderr.splitlines()[-4:]] if found else []

    def names_of_both_kinds_are_refused(self) -> list[str]:
        def rename(tensors: dict[str, Tensor]) -> None:
            tensors["model.layers.3.block_sparse_moe.gate.weight"] = tensors.pop("model.layers.3.mlp.gate.weight")

        return self._refused(self._changed("both", rename), "model.layers.3.block_sparse_moe.gate.weight has the name of",
                             "tensor model.layers.0.mlp.experts.down_proj that of transformers' own tree")  # fmt: skip

    def a_doubled_router_is_refused(self) -> list[str]:
        def double(tensors: dict[str, Tensor]) -> None:
            tensors["model.layers.3.mlp.gate.weight"] = tensors["model.layers.3.block_sparse_moe.gate.weight"]

        return self._refused(self._changed("doubled", double, fused=False), "model.layers.3.mlp.gate.weight that of")

    def half_a_fused_mixture_is_refused(self) -> list[str]:
        def drop(tensors: dict[str, Tensor]) -> None:
            tensors.pop("model.layers.2.mlp.experts.down_proj")

        return self._refused(self._changed("half", drop),
                             "tensor model.layers.2.mlp.experts.down_proj is missing, expected it with shape [4, 64, 32]")  # fmt: skip

    def a_fused_tensor_of_another_shape_is_refused(self) -> list[str]:
        def swap(tensors: dict[str, Tensor]) -> None:
            tensors["model.layers.1.mlp.experts.down_proj"] = tensors["model.layers.1.mlp.experts.gate_up_proj"]

        return self._refused(self._changed("shape", swap),
                             "model.layers.1.mlp.experts.down_proj has shape [4, 64, 64], expected [4, 64, 32]")  # fmt: skip

    def the_nearest_name_is_offered(self) -> list[str]:
        def slip(tensors: dict[str, Tensor]) -> None:
            tensors["model.layers.5.self_attn.o_proj.weight"] = tensors.pop("model.layers.5.self_attn.out_proj.weight")

        return self._refused(self._changed("slip", slip, fused=False), "model.layers.5.self_attn.out_proj.weight is missing",
                             "the nearest name there is model.layers.5.self_attn.o_proj.weight")  # fmt: skip

    def fields_that_contradict_each_other_are_refused(self) -> list[str]:
        model, found = self._scratch / "fields", []
        in_tree.convert(NANO, model)
        good = (model / "config.json").read_text()
        for changed, words in (
            ({"layernorm_mlp_alpha": 1.5}, "layernorm_mlp_alpha is 1.5 and mlp_alpha_factor is 3.39"),
            ({"attn_type_list": [0] * 8}, 'attn_type_list[7] is 0 and layer_types[7] is "full_attention"'),
            ({"rotary_dim": 4}, "partial_rotary_factor is 0.5 of head_dim 16"),
            ({"rope_theta": 5}, "rope_parameters: rope_theta is 10000000 here and 5 outside"),
            ({"postnorm": False}, 'postnorm is false, but model_type "minimax" has no such field'),
        ):
            (model / "config.json").write_text(good)
            edit_json(model / "config.json", lambda config: config.update(changed))
            found += self._refused(model, words)
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description="The dialect of transformers' own tree.")
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD, else build/release)")
    parser.add_argument("--only", metavar="WORD", help="only facts whose name holds this")
    options = parser.parse_args()
    tally = Tally()
    try:
        dialects = Dialects(build_folder(options.build))
    except CommandError as error:
        tally.record("the_command_is_built", [str(error)])
        return tally.finish()
    record_all(tally, list(facts_of(dialects)), options.only)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
