#!/usr/bin/python3
"""Rewrites a checkpoint in the dialect of transformers' own tree (model_type `minimax`), value for value.

    in_tree.py CHECKPOINT DIR [--names official] [--fields old]

Names of the mixtures become `mlp.gate`, `mlp.experts.gate_up_proj` [E, 2F, H] (w1's rows, then w3's) and
`mlp.experts.down_proj` [E, H, F]; with `--names official` they stay, as older versions of transformers have them.
Fields of config.json get their in-tree names; `--fields old` writes rope_theta and rotary_dim at the top level, as
transformers 4 does, otherwise inside rope_parameters, as transformers 5 does. No value changes: what computes with the
official arithmetic must answer with the very bits of the original.
"""
from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, Sequence

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from reference import safetensors_io  # noqa: E402
from reference.safetensors_io import Bf16, Tensor  # noqa: E402

FIELDS = {
    "layernorm_linear_attention_alpha": "linear_attn_alpha_factor",
    "layernorm_linear_attention_beta": "linear_attn_beta_factor",
    "layernorm_full_attention_alpha": "full_attn_alpha_factor",
    "layernorm_full_attention_beta": "full_attn_beta_factor",
    "layernorm_mlp_alpha": "mlp_alpha_factor",
    "layernorm_mlp_beta": "mlp_beta_factor",
}
KINDS = ("linear_attention", "full_attention")
EXPERT = re.compile(r"(model\.layers\.\d+\.)block_sparse_moe\.experts\.\d+\.w[123]\.weight")


def convert_config(config: dict[str, Any], old_fields: bool = False) -> dict[str, Any]:
    if not config.get("postnorm"):
        raise ValueError("postnorm is false: the in-tree dialect cannot say so")
    out = {FIELDS.get(key, key): value for key, value in config.items() if key not in ("attn_type_list", "postnorm", "auto_map")}
    out.update(model_type="minimax", architectures=["MiniMaxForCausalLM"])
    out["layer_types"] = [KINDS[kind] for kind in config["attn_type_list"]]
    if not old_fields:
        rope = {"rope_type": "default", "rope_theta": out.pop("rope_theta")}
        if out.get("rotary_dim"):
            rope["partial_rotary_factor"] = out.pop("rotary_dim") / out["head_dim"]
        out["rope_parameters"] = rope
    return out


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    if isinstance(tensors[0], Bf16):
        return Bf16(np.stack([tensor.bits for tensor in tensors]))
    return np.stack(tensors)


def _rows(tensors: Sequence[Tensor]) -> Tensor:
    if isinstance(tensors[0], Bf16):
        return Bf16(np.concatenate([tensor.bits for tensor in tensors]))
    return np.concatenate(tensors)


def fuse(tensors: dict[str, Tensor], experts: int) -> dict[str, Tensor]:
    """All tensors under their in-tree names, the experts of a layer in two."""
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        found = EXPERT.fullmatch(name)
        if not found:
            out[name.replace(".block_sparse_moe.gate.", ".mlp.gate.")] = tensor
            continue
        old, new = found[1] + "block_sparse_moe.experts", found[1] + "mlp.experts"
        if f"{new}.down_proj" not in out:
            weights = {w: [tensors[f"{old}.{e}.w{w}.weight"] for e in range(experts)] for w in (1, 2, 3)}
            out[f"{new}.gate_up_proj"] = _stack([_rows(pair) for pair in zip(weights[1], weights[3])])
            out[f"{new}.down_proj"] = _stack(weights[2])
    return out


def write_checkpoint(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor], shards: int = 1) -> None:
    """shards: how many files; with more than one, neighbours lie in different ones."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    if shards == 1:
        safetensors_io.write(folder / "model.safetensors", tensors)
        return
    weight_map = {name: f"model-{i % shards:05}-of-{shards:05}.safetensors" for i, name in enumerate(tensors)}
    for file in sorted(set(weight_map.values())):
        safetensors_io.write(folder / file, {name: tensors[name] for name in tensors if weight_map[name] == file})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def convert(source: Path, out: Path, official_names: bool = False, old_fields: bool = False, shards: int = 1) -> None:
    config = json.loads((source / "config.json").read_text())
    tensors = safetensors_io.read_checkpoint_stored(source)
    if not official_names:
        tensors = fuse(tensors, config["num_local_experts"])
    write_checkpoint(out, convert_config(config, old_fields), tensors, shards)


def main() -> None:
    parser = argparse.ArgumentParser(description="Rewrites a checkpoint in the dialect of transformers' own tree.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("dir", type=Path, help="must not exist")
    parser.add_argument("--names", choices=("in-tree", "official"), default="in-tree")
    parser.add_argument("--fields", choices=("new", "old"), default="new")
    options = parser.parse_args()
    convert(options.checkpoint, options.dir, options.names == "official", options.fields == "old")


if __name__ == "__main__":
    main()
