#!/usr/bin/python3
"""Writes small random checkpoints for the branches of the model that no golden vector covers.

    make_model.py NAME DIR [--seed N]      make_model.py --list

A checkpoint is a function of its name and the seed. The default seed of a name was searched: with it the router's
closest decisions on the tests' own ids keep a distance that float32 cannot bridge (reference_models.py checks
that, and fails when it no longer holds). `poison` is for purity tests: see poison().
"""
from __future__ import annotations

import argparse
import json
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from reference import safetensors_io  # noqa: E402
from reference.minimax import LIGHTNING  # noqa: E402

# Standard deviation of a row's sum for inputs of size 1: chosen so that activations, scores and logits stay of the
# order of 1 to 10 and no branch of the network is negligible beside the residual.
GAINS = {
    "lm_head": 2.5, "qkv_proj": 1.0, "output_gate": 1.5, "out_proj": 0.8, "q_proj": 1.0, "k_proj": 1.0,
    "v_proj": 1.2, "o_proj": 0.8, "gate": 1.2, "w1": 1.3, "w3": 1.3, "w2": 0.8, "gate_proj": 1.3, "up_proj": 1.3,
    "down_proj": 0.8, "coefficient": 1.4,
}  # fmt: skip

ALPHAS = {
    "layernorm_linear_attention_alpha": 3.0, "layernorm_linear_attention_beta": 1.0,
    "layernorm_full_attention_alpha": 2.5, "layernorm_full_attention_beta": 0.9,
    "layernorm_mlp_alpha": 3.4, "layernorm_mlp_beta": 1.1,
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """What a name stands for. A key of config.json left out here stands at its documented default."""

    about: str
    config: dict[str, Any]
    stored: str = "BF16"  # of every matrix and norm but the router gates
    stored_gate: str = "F32"
    gains: dict[str, float] | None = None
    seed: int = 1
    change: Callable[[dict[str, np.ndarray]], None] | None = None


def _config(kinds: str, **changed: Any) -> dict[str, Any]:
    """kinds: one digit for each layer, 0 lightning, 1 softmax. A value of ... takes the key out."""
    config: dict[str, Any] = {
        "architectures": ["MiniMaxM1ForCausalLM"], "model_type": "minimax_m1", "hidden_act": "silu",
        "hidden_size": 48, "num_hidden_layers": len(kinds), "num_attention_heads": 4, "head_dim": 12,
        "num_key_value_heads": 2, "rotary_dim": 6, "rope_theta": 10000000, "attn_type_list": [int(k) for k in kinds],
        "intermediate_size": 24, "num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 0,
        "shared_moe_mode": "sigmoid", "postnorm": True, "rms_norm_eps": 1e-05, "vocab_size": 256,
        "max_position_embeddings": 16384, "tie_word_embeddings": False, "sliding_window": None,
        "bos_token_id": None, "eos_token_id": None, **ALPHAS,
    }  # fmt: skip
    config.update(changed)
    return {key: value for key, value in config.items() if value is not ...}


# Ids of the poison model that bring Inf and NaN into the network, by the place where they do.
POISON = {"lightning": 252, "experts": 253, "softmax": 254, "router": 255}
POISON_IDS = tuple(POISON.values())
HUGE = 3e38  # finite in float32 and bfloat16; times an activation of 1.2 or more it is not


def poison(tensors: dict[str, np.ndarray]) -> None:
    """Makes four token ids overflow float32, each at another place of the network, and leaves all others finite.

    Column c of the embedding is 4 for the c-th poison id and 0 for every other token, and layer 0 writes nothing
    into the residual's first four columns. So a weight of +-3e38 that reads column c (layer 0's v and k; experts;
    layer 1's k and v; router) meets an exact zero for ordinary tokens and gives +-Inf for the one id. What follows
    turns Inf into NaN soon: -Inf * sigmoid(-Inf), Inf - Inf in sums and in the norms.
    """
    columns = len(POISON_IDS)
    embedding = tensors["model.embed_tokens.weight"]
    embedding[:, :columns] = 0
    for column, token in enumerate(POISON_IDS):
        embedding[token, column] = 4
    layers = "model.layers."
    tensors[layers + "0.self_attn.out_proj.weight"][:columns] = 0
    for name, tensor in tensors.items():
        if name.startswith(layers + "0.") and name.endswith("w2.weight"):
            tensor[:columns] = 0
    for norm in ("0.input_layernorm", "0.post_attention_layernorm", "1.input_layernorm"):
        tensors[f"{layers}{norm}.weight"][:columns] = 1
    huge = np.where(np.arange(8) % 2, -HUGE, HUGE)
    qkv = tensors[layers + "0.self_attn.qkv_proj.weight"].reshape(4, 3, 8, -1)  # head, q k v, dim
    qkv[0, 2, :, 0] = huge
    qkv[1, 1, :, 0] = huge
    for expert in (0, 2):
        tensors[f"{layers}0.block_sparse_moe.experts.{expert}.w1.weight"][:8, 1] = huge
        tensors[f"{layers}0.block_sparse_moe.experts.{expert}.w3.weight"][4:12, 1] = huge
    tensors[layers + "1.self_attn.k_proj.weight"].reshape(2, 8, -1)[0, :, 2] = huge
    tensors[layers + "1.self_attn.v_proj.weight"].reshape(2, 8, -1)[1, :, 2] = huge
    tensors[layers + "0.block_sparse_moe.gate.weight"][:, 3] = huge[:4]


RECIPES = {
    "odd_heads": Recipe(
        "6 heads, no power of two; heads * dim is not hidden",
        _config("0010", hidden_size=40, num_attention_heads=6, head_dim=8, num_key_value_heads=3, rotary_dim=4),
        seed=6,
    ),
    "top3": Recipe("3 of 6 experts for each token", _config("010", num_experts_per_tok=3, num_local_experts=6), seed=5),
    "prenorm": Recipe(
        "postnorm false; head_dim, rotary_dim, rope_theta, alphas and betas at their defaults, every head its own key",
        _config("0101", head_dim=..., rotary_dim=..., rope_theta=..., num_key_value_heads=None, postnorm=...,
                **dict.fromkeys(ALPHAS, ...)),
        seed=10,
    ),  # fmt: skip
    "tied": Recipe("the embedding is the head", _config("001", tie_word_embeddings=True), seed=8),
    "half": Recipe("every tensor in float16", _config("010"), stored="F16", stored_gate="F16", seed=3),
    "one_layer_lightning": Recipe(
        "one lightning layer; one expert for each token",
        _config("0", num_experts_per_tok=1),
        seed=3,
    ),
    "one_layer_softmax": Recipe(
        "one softmax layer; all experts for each token",
        _config("1", num_local_experts=3, num_experts_per_tok=3, rotary_dim=12),
    ),
    "span": Recipe(
        "for 9,000 tokens: sharp attention that reaches back over 4,096-position spans",
        _config("010", hidden_size=32, head_dim=8, rotary_dim=4, rope_theta=10000.0, intermediate_size=16,
                num_experts_per_tok=1, num_local_experts=3),
        gains={"q_proj": 1.6, "k_proj": 1.6},
        seed=5,
    ),  # fmt: skip
    "poison": Recipe(
        "ids 252 to 255 make Inf and NaN in the network",
        _config("0101", head_dim=8, rotary_dim=4),
        change=poison,
    ),
}


def _shapes(c: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor, in the order of the network."""
    hidden, heads = c["hidden_size"], c["num_attention_heads"]
    dim = c.get("head_dim", hidden // heads)
    width, narrow = heads * dim, (c["num_key_value_heads"] or heads) * dim
    inner, experts = c["intermediate_size"], c["num_local_experts"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (c["vocab_size"], hidden)}
    for layer, kind in enumerate(c["attn_type_list"]):
        p = f"model.layers.{layer}."
        shapes[p + "input_layernorm.weight"] = (hidden,)
        if kind == LIGHTNING:
            shapes[p + "self_attn.qkv_proj.weight"] = (3 * width, hidden)
            shapes[p + "self_attn.output_gate.weight"] = (width, hidden)
            shapes[p + "self_attn.norm.weight"] = (width,)
            shapes[p + "self_attn.out_proj.weight"] = (hidden, width)
        else:
            shapes[p + "self_attn.q_proj.weight"] = (width, hidden)
            shapes[p + "self_attn.k_proj.weight"] = (narrow, hidden)
            shapes[p + "self_attn.v_proj.weight"] = (narrow, hidden)
            shapes[p + "self_attn.o_proj.weight"] = (hidden, width)
        shapes[p + "post_attention_layernorm.weight"] = (hidden,)
        shapes[p + "block_sparse_moe.gate.weight"] = (experts, hidden)
        for e in range(experts):
            shapes[f"{p}block_sparse_moe.experts.{e}.w1.weight"] = (inner, hidden)
            shapes[f"{p}block_sparse_moe.experts.{e}.w2.weight"] = (hidden, inner)
            shapes[f"{p}block_sparse_moe.experts.{e}.w3.weight"] = (inner, hidden)
    shapes["model.norm.weight"] = (hidden,)
    if not c["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (c["vocab_size"], hidden)
    return shapes


def _draw(name: str, shape: tuple[int, ...], gains: dict[str, float], rng: np.random.Generator) -> np.ndarray:
    values = rng.standard_normal(shape)
    role = name.split(".")[-2]
    if len(shape) == 1:
        return 1 + 0.15 * values
    if role == "embed_tokens":
        return 0.7 * values
    return values * gains[role] / np.sqrt(shape[1])


def _store(values: np.ndarray, stored: str) -> safetensors_io.Tensor:
    values = values.astype(np.float32)
    return {
        "BF16": safetensors_io.to_bf16,
        "F16": lambda v: v.astype(np.float16),
        "F32": lambda v: v,
    }[stored](values)


def make(name: str, folder: Path, seed: int | None = None) -> Path:
    """Writes config.json and model.safetensors into the folder, which is made; returns the folder."""
    recipe = RECIPES[name]
    # crc32 rather than hash(): the same in every process and version.
    rng = np.random.default_rng([recipe.seed if seed is None else seed, zlib.crc32(name.encode())])
    gains = {**GAINS, **(recipe.gains or {})}
    tensors = {key: _draw(key, shape, gains, rng) for key, shape in _shapes(recipe.config).items()}
    if recipe.change:
        recipe.change(tensors)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(recipe.config, indent=1) + "\n")
    stored = {
        key: _store(values, recipe.stored_gate if key.endswith("moe.gate.weight") else recipe.stored)
        for key, values in tensors.items()
    }
    safetensors_io.write(folder / "model.safetensors", stored)
    return folder


def sequences(name: str) -> list[np.ndarray]:
    """The ids that reference_models.py runs through a model: 9,000 for span, else some short sequences."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    vocab = RECIPES[name].config["vocab_size"]
    return [rng.integers(0, vocab, n) for n in ((9000,) if name == "span" else (1, 65, 300))]


def main() -> int:
    parser = argparse.ArgumentParser(description="Write a small random checkpoint.")
    parser.add_argument("name", nargs="?", choices=sorted(RECIPES))
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--seed", type=int, help="default: the searched one of the name")
    parser.add_argument("--list", action="store_true", help="the names and what they are for")
    options = parser.parse_args()
    if options.list:
        for name, recipe in RECIPES.items():
            print(f"{name:20} {recipe.about}")
        return 0
    if options.folder is None:
        parser.error("a name and a folder are needed (or --list)")
    make(options.name, options.folder, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
