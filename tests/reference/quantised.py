"""Quantised checkpoints by the conventions of compressed-tensors, in numpy: reading what is stored, and writing.

Nothing here knows how the C code rounds: expand() says which weights the stored integers and scales mean, in float64,
exactly; quantize() rounds in the plainest way (the largest magnitude of a group is kept) and is for making models.
"""
from __future__ import annotations

import json
from pathlib import Path
from typing import Callable, Mapping

import numpy as np

from reference import in_tree, safetensors_io
from reference.safetensors_io import Tensor

GROUP = 64
FORMATS = {8: "int-quantized", 4: "pack-quantized"}


def unpack(words: np.ndarray, columns: int) -> np.ndarray:
    """int4 values [rows, columns] of I32 words: eight in a word, the first lowest, each as value + 8."""
    bits = words.astype(np.int64) & 0xFFFFFFFF
    nibbles = bits[:, :, None] >> (4 * np.arange(8)) & 15
    return (nibbles.reshape(len(words), -1)[:, :columns] - 8).astype(np.int8)


def pack(values: np.ndarray) -> np.ndarray:
    rows, columns = values.shape
    nibbles = np.full((rows, (columns + 7) // 8 * 8), 0, dtype=np.int64)
    nibbles[:, :columns] = values.astype(np.int64) + 8
    words = (nibbles.reshape(rows, -1, 8) << (4 * np.arange(8))).sum(axis=2)
    return words.astype(np.uint32).view(np.int32)


def restored(values: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """integer × scale in float64: exact."""
    spread = np.repeat(scales.astype(np.float64), GROUP, axis=1)[:, : values.shape[1]]
    return values.astype(np.float64) * spread


def expand(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A checkpoint's tensors with every quantised weight as what it means, in float64, under its own name."""
    out = dict(tensors)
    for name in tensors:
        weight = name.removesuffix("_scale")
        if not name.endswith(".weight_scale"):
            continue
        scales = out.pop(name)
        if weight in out:
            values = out[weight]
        else:
            rows, columns = out.pop(f"{weight}_shape")
            values = unpack(out.pop(f"{weight}_packed"), int(columns))
            assert values.shape == (rows, columns), weight
        out[weight] = restored(values, scales)
    return out


def quantize(weight: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Integers [rows, columns] and float32 scales [rows, groups]."""
    rows, columns = weight.shape
    groups = -(-columns // GROUP)
    padded = np.zeros((rows, groups * GROUP), dtype=np.float64)
    padded[:, :columns] = weight
    largest = np.abs(padded.reshape(rows, groups, GROUP)).max(axis=2)
    scales = np.where(largest > 0, largest / (2 ** (bits - 1) - 1), 1.0).astype(np.float32)
    low = -(2 ** (bits - 1)) + (bits == 8)
    values = np.clip(np.rint(weight / np.repeat(scales, GROUP, axis=1)[:, :columns]), low, -low - (bits == 4))
    return values.astype(np.int8), scales


def config_of(bits: int) -> dict[str, object]:
    weights = {"num_bits": bits, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP}
    return {"quant_method": "compressed-tensors", "format": FORMATS[bits], "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}  # fmt: skip


def convert(source: Path, out: Path, bits: int, chosen: Callable[[str], bool]) -> None:
    """The checkpoint at `source` with the chosen weights as integers, in one file."""
    config = {**json.loads((source / "config.json").read_text()), "quantization_config": config_of(bits)}
    tensors: dict[str, Tensor] = {}
    plain = safetensors_io.read_checkpoint(source)
    for name, stored in safetensors_io.read_checkpoint_stored(source).items():
        if not chosen(name):
            tensors[name] = stored
            continue
        values, scales = quantize(plain[name], bits)
        if bits == 8:
            tensors[name] = values
        else:
            tensors[f"{name}_packed"] = pack(values)
            tensors[f"{name}_shape"] = np.array(values.shape, dtype=np.int64)
        tensors[f"{name}_scale"] = scales
    in_tree.write_checkpoint(out, config, tensors)
