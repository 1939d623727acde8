"""A minimal reader and writer of safetensors files, for tests.

A file is an 8-byte little-endian length, that many bytes of JSON which give every tensor its type, shape and
byte range, and the bytes. Only the types that checkpoints and results of this project use are known; anything
else is an error, never a guess. bfloat16, which numpy lacks, is read as its exact float32 expansion and written
from a Bf16 wrapper.
"""
from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Mapping, NamedTuple, Union

import numpy as np

NUMPY_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I8": "|i1", "U8": "|u1"}
STORED_TYPES = {np.dtype(numpy_type): name for name, numpy_type in NUMPY_TYPES.items()}
HEADER_LIMIT_BYTES = 100_000_000


class Bf16(NamedTuple):
    """The bits of bfloat16 values, uint16."""

    bits: np.ndarray


Tensor = Union[np.ndarray, Bf16]


class FileError(Exception):
    """The file is not what it says it is."""


def to_bf16(values: np.ndarray) -> Bf16:
    """Rounds finite float32 values to bfloat16, to nearest, ties to even."""
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4").astype(np.uint64)
    bits += 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))
    return Bf16((bits >> np.uint64(16)).astype("<u2"))


def from_bf16(tensor: Bf16) -> np.ndarray:
    """The float32 values of bfloat16 bits, exactly."""
    return (tensor.bits.astype("<u4") << np.uint32(16)).view("<f4")


def _read_header(path: Path, data: memoryview) -> tuple[dict, memoryview]:
    if len(data) < 8:
        raise FileError(f"{path}: {len(data)} bytes, expected at least 8 for the header length")
    (length,) = struct.unpack_from("<Q", data)
    if length > min(HEADER_LIMIT_BYTES, len(data) - 8):
        raise FileError(f"{path}: header length {length} exceeds the file ({len(data)} bytes) or the limit")
    header = json.loads(bytes(data[8 : 8 + length]))
    if not isinstance(header, dict):
        raise FileError(f"{path}: the header is not a JSON object")
    return header, data[8 + length :]


def _read_tensor(path: Path, name: str, entry: dict, body: memoryview) -> Tensor:
    stored, shape = entry["dtype"], tuple(entry["shape"])
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end <= len(body):
        raise FileError(f"{path}: {name}: bytes {begin}..{end} lie outside of the file's {len(body)}")
    numpy_type = np.dtype("<u2" if stored == "BF16" else NUMPY_TYPES.get(stored, "V0"))
    if numpy_type.itemsize == 0:
        raise FileError(f"{path}: {name}: type {stored} is not known here")
    if end - begin != math.prod(shape) * numpy_type.itemsize:
        raise FileError(f"{path}: {name}: {end - begin} bytes do not make {stored} {list(shape)}")
    array = np.frombuffer(body[begin:end], dtype=numpy_type).reshape(shape)
    return Bf16(array) if stored == "BF16" else array


def read_stored(path: Path | str) -> dict[str, Tensor]:
    """All tensors of one file, in stored type."""
    path = Path(path)
    header, body = _read_header(path, memoryview(path.read_bytes()))
    return {name: _read_tensor(path, name, entry, body) for name, entry in header.items() if name != "__metadata__"}


def _expanded(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: from_bf16(tensor) if isinstance(tensor, Bf16) else tensor for name, tensor in tensors.items()}


def read(path: Path | str) -> dict[str, np.ndarray]:
    """All tensors of one file, in stored type except that bfloat16 comes as float32."""
    return _expanded(read_stored(path))


def read_checkpoint_stored(folder: Path | str) -> dict[str, Tensor]:
    """All tensors of a Hugging Face directory: one file, or the shards that its index names."""
    folder = Path(folder)
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return read_stored(folder / "model.safetensors")
    weight_map = json.loads(index.read_text())["weight_map"]
    shards = {shard: read_stored(folder / shard) for shard in sorted(set(weight_map.values()))}
    return {name: shards[shard][name] for name, shard in weight_map.items()}


def read_checkpoint(folder: Path | str) -> dict[str, np.ndarray]:
    """The same, with bfloat16 as float32."""
    return _expanded(read_checkpoint_stored(folder))


def _stored(tensor: Tensor) -> tuple[str, np.ndarray]:
    if isinstance(tensor, Bf16):
        return "BF16", tensor.bits
    name = STORED_TYPES.get(np.dtype(tensor.dtype).newbyteorder("<"))
    if name is None:
        raise FileError(f"numpy type {tensor.dtype} has no stored type here")
    return name, tensor.astype(NUMPY_TYPES[name])


def write(path: Path | str, tensors: Mapping[str, Tensor]) -> None:
    """Writes the tensors in the order given, the header padded so that the bytes begin at a multiple of 8."""
    header: dict[str, dict] = {}
    chunks: list[bytes] = []
    offset = 0
    for name, tensor in tensors.items():
        stored, array = _stored(tensor)
        chunk = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": stored, "shape": list(array.shape), "data_offsets": [offset, offset + len(chunk)]}
        chunks.append(chunk)
        offset += len(chunk)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(chunks))
