"""A checkpoint with MiniMax-M1's names of a trained model, and back.

Writes model-*.safetensors with an index (bf16; the routers in f32, as published), config.json, tokenizer.json and
tokenizer_config.json: a folder that `penstock run -m` takes.
"""
from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model import Model, Shape
from tokens import END

SHARD_BYTES = 15_000_000  # few tools complain about files of this size


def config_of(shape: Shape) -> dict:
    residuals = {f"layernorm_{kind}_{part}": value for kind in ("linear_attention", "full_attention", "mlp")
                 for part, value in (("alpha", shape.alpha), ("beta", 1.0))}
    return {
        "architectures": ["MiniMaxM1ForCausalLM"], "model_type": "minimax_m1", "torch_dtype": "bfloat16",
        "hidden_size": shape.hidden, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "head_dim": shape.head_dim, "num_key_value_heads": shape.kv_heads, "rotary_dim": shape.rotary_dim,
        "rope_theta": shape.rope_theta, "attn_type_list": [int(shape.is_softmax(i)) for i in range(shape.layers)],
        "intermediate_size": shape.inner, "num_local_experts": shape.experts, "num_experts_per_tok": shape.chosen,
        "shared_intermediate_size": 0, "postnorm": True, **residuals, "rms_norm_eps": shape.eps, "hidden_act": "silu",
        "vocab_size": shape.vocab, "max_position_embeddings": shape.positions, "tie_word_embeddings": False,
        "sliding_window": None, "eos_token_id": END,
    }


def shape_of(config: dict) -> Shape:
    kinds = config["attn_type_list"]
    every = kinds.index(1) + 1 if 1 in kinds else len(kinds) + 1
    return Shape(hidden=config["hidden_size"], layers=len(kinds), softmax_every=every, heads=config["num_attention_heads"],
                 head_dim=config["head_dim"], kv_heads=config["num_key_value_heads"], rotary_dim=config["rotary_dim"],
                 rope_theta=config["rope_theta"], experts=config["num_local_experts"], chosen=config["num_experts_per_tok"],
                 inner=config["intermediate_size"], vocab=config["vocab_size"], positions=config["max_position_embeddings"],
                 eps=config["rms_norm_eps"])


def places(model: Model) -> dict[str, Tensor]:
    """Every tensor's published name, and the part of a parameter that it is (a view)."""
    out = {"model.embed_tokens.weight": model.embed, "model.norm.weight": model.final_norm, "lm_head.weight": model.lm_head}
    inner = model.shape.inner
    for i, layer in enumerate(model.blocks):
        name = f"model.layers.{i}."
        out[name + "input_layernorm.weight"] = layer.input_norm
        out[name + "post_attention_layernorm.weight"] = layer.mlp_norm
        attention = (("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"), ("o_proj", "o")) if model.shape.is_softmax(i) else \
            (("qkv_proj", "qkv"), ("output_gate", "gate"), ("norm", "norm"), ("out_proj", "out"))
        for published, own in attention:
            out[f"{name}self_attn.{published}.weight"] = getattr(layer, own)
        out[name + "block_sparse_moe.gate.weight"] = layer.router
        for e in range(model.shape.experts):
            part = slice(e * inner, (e + 1) * inner)
            expert = f"{name}block_sparse_moe.experts.{e}."
            out[expert + "w1.weight"], out[expert + "w3.weight"] = layer.w1[part], layer.w3[part]
            out[expert + "w2.weight"] = layer.w2[:, part]
    return out


def stored(name: str, tensor: Tensor) -> Tensor:
    dtype = torch.float32 if name.endswith("block_sparse_moe.gate.weight") else torch.bfloat16
    return tensor.detach().to("cpu", dtype).contiguous()


def save(model: Model, folder: Path, tokenizer: Path) -> None:
    shards: list[dict[str, Tensor]] = [{}]
    size = total = 0
    for name, place in places(model).items():
        tensor = stored(name, place)
        total += tensor.nbytes
        if size + tensor.nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    index = {"metadata": {"total_size": total}, "weight_map": {}}
    for number, shard in enumerate(shards):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file(shard, folder / file, {"format": "pt"})
        index["weight_map"] |= {name: file for name in shard}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
    (folder / "config.json").write_text(json.dumps(config_of(model.shape), indent=1) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if not (folder / name).exists() or not (folder / name).samefile(tokenizer.parent / name):
            shutil.copyfile(tokenizer.parent / name, folder / name)


def open_model(folder: Path) -> Model:
    """The checkpoint's model, for float32."""
    model = Model(shape_of(json.loads((folder / "config.json").read_text())))
    load(model, folder)
    return model


@torch.no_grad()
def load(model: Model, folder: Path) -> None:
    tensors: dict[str, Tensor] = {}
    for file in sorted(folder.glob("model-*.safetensors")):
        tensors |= load_file(file)
    for name, place in places(model).items():
        place.copy_(tensors[name])
