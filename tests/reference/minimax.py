"""The model of docs/model.md in float64, token by token: the judge of everything faster.

It is written from the specification alone and shares no line, and no order of operations, with the C code.
Lightning attention is the plain recurrence; softmax attention is one matrix of scores for some queries at a
time. Weights are expanded exactly. Only what the specification defines by a rounding is rounded here: the
inverse frequency of the rotary embedding and its angle are float32 values.

Model(folder) loads a Hugging Face directory; model.forward(ids) returns a Trace. A Sequence carries the state
from one call to the next. Model(folder, np.float32) does the same in single precision: it says how much of a
difference is due to float32 as such, and where Inf and NaN appear.
"""
from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np

from reference import quantised, safetensors_io

LIGHTNING, SOFTMAX = 0, 1
LIGHTNING_NORM_EPS = 1e-6  # the class default of the official file; rms_norm_eps is not passed to it
QUERIES_AT_A_TIME = 256  # bounds the matrix of scores: 256 x 9,000 x heads


class ModelError(Exception):
    """The checkpoint is not one that this program can run."""


@dataclass(frozen=True)
class Config:
    hidden: int
    layers: int
    heads: int
    head_dim: int
    kv_heads: int
    rotary_dim: int
    rope_theta: float
    kinds: tuple[int, ...]  # LIGHTNING or SOFTMAX for each layer
    experts: int
    experts_per_token: int
    shared_expert: bool
    postnorm: bool
    residual: dict[str, tuple[float, float]]  # alpha and beta of "linear_attention", "full_attention", "mlp"
    eps: float
    vocab: int
    tied: bool


def read_config(path: Path) -> Config:
    """config.json with the defaults of the specification's section 1; what it says to refuse is refused."""
    raw: dict[str, Any] = json.loads(path.read_text())

    def value(name: str, default: Any) -> Any:
        found = raw.get(name, default)
        return default if found is None else found

    if value("hidden_act", "silu") != "silu":
        raise ModelError(f"{path}: hidden_act is {raw['hidden_act']!r}, expected 'silu'")
    if raw.get("sliding_window") is not None:
        raise ModelError(f"{path}: sliding_window is set, expected null")
    if value("shared_moe_mode", "sigmoid") != "sigmoid":
        raise ModelError(f"{path}: shared_moe_mode is {raw['shared_moe_mode']!r}, expected 'sigmoid'")
    hidden, heads = value("hidden_size", 4096), value("num_attention_heads", 32)
    head_dim = value("head_dim", hidden // heads)
    config = Config(
        hidden=hidden,
        layers=value("num_hidden_layers", 32),
        heads=heads,
        head_dim=head_dim,
        kv_heads=raw["num_key_value_heads"] or heads if "num_key_value_heads" in raw else 8,
        rotary_dim=value("rotary_dim", head_dim),
        rope_theta=float(value("rope_theta", 1e6)),
        kinds=tuple(raw["attn_type_list"]),
        experts=value("num_local_experts", 8),
        experts_per_token=value("num_experts_per_tok", 2),
        shared_expert=value("shared_intermediate_size", 0) > 0,
        postnorm=value("postnorm", False),
        residual={
            kind: (value(f"layernorm_{kind}_alpha", 1), value(f"layernorm_{kind}_beta", 1))
            for kind in ("linear_attention", "full_attention", "mlp")
        },
        eps=value("rms_norm_eps", 1e-5),
        vocab=value("vocab_size", 32000),
        tied=value("tie_word_embeddings", False),
    )
    if len(config.kinds) != config.layers:
        raise ModelError(f"{path}: attn_type_list has {len(config.kinds)} entries for {config.layers} layers")
    if config.heads % config.kv_heads or config.rotary_dim % 2 or config.rotary_dim > config.head_dim:
        raise ModelError(f"{path}: heads, key/value heads, rotary_dim and head_dim do not fit each other")
    return config


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def silu(x: np.ndarray) -> np.ndarray:
    return x * sigmoid(x)


def softmax(x: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """Over the last axis."""
    return weight * (x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + x.dtype.type(eps)))


def slopes(heads: int) -> np.ndarray:
    """Section 4.1, 3: a geometric list for a power of two, else that of the power below and every second
    element of that of the power above."""
    below = 1
    while below * 2 <= heads:
        below *= 2
    own = [2.0 ** (-8.0 * (a + 1) / below) for a in range(below)]
    between = [2.0 ** (-8.0 * (a + 1) / (2 * below)) for a in range(0, 2 * below, 2)]
    return np.array(own + between[: heads - below])


def layer_factor(layer: int, layers: int) -> float:
    """Section 4.1, 4. The layer counts among all layers, softmax ones included."""
    return 1 - layer / (layers - 1) + 1e-5 if layers > 1 else 1 + 1e-5


def rope(x: np.ndarray, first_position: int, rotary_dim: int, theta: float) -> np.ndarray:
    """x [tokens, heads, head_dim]; rotates the pairs (i, i + r/2) of the first r entries of every head."""
    half = rotary_dim // 2
    powers = np.array([theta ** (2 * i / rotary_dim) for i in range(half)])
    inverse = np.float32(1) / powers.astype(np.float32)
    positions = np.arange(first_position, first_position + len(x)).astype(np.float32)
    angle = (positions[:, None] * inverse[None, :]).astype(np.float64)
    c = np.cos(angle).astype(x.dtype)[:, None, :]
    s = np.sin(angle).astype(x.dtype)[:, None, :]
    low, high = x[..., :half], x[..., half:rotary_dim]
    return np.concatenate([low * c - high * s, high * c + low * s, x[..., rotary_dim:]], axis=-1)


@dataclass
class Sequence:
    """What one sequence has left behind: how many tokens, and for each layer its matrix or its cache."""

    position: int = 0
    matrices: dict[int, np.ndarray] = field(default_factory=dict)  # lightning layer -> [heads, k dim, v dim]
    keys: dict[int, np.ndarray] = field(default_factory=dict)  # softmax layer -> [tokens, kv_heads, dim], rotated
    values: dict[int, np.ndarray] = field(default_factory=dict)


@dataclass
class Trace:
    """What there is to compare. Fields may be None where a producer does not give them."""

    logits: np.ndarray  # [n, vocab]
    hidden: Optional[np.ndarray] = None  # [layers, n, hidden], output of each layer
    router_ids: Optional[np.ndarray] = None  # [layers, n, K], largest weight first
    router_weights: Optional[np.ndarray] = None  # [layers, n, K]
    states: dict[int, np.ndarray] = field(default_factory=dict)  # after the last token, [heads, k dim, v dim]
    router_margins: Optional[np.ndarray] = None  # [layers, n], see router()


class Model:
    def __init__(self, folder: Path | str, dtype: type = np.float64) -> None:
        folder = Path(folder)
        self.config = read_config(folder / "config.json")
        self.dtype = dtype
        self._weights = {k: v.astype(dtype) for k, v in quantised.expand(safetensors_io.read_checkpoint(folder)).items()}

    def weight(self, name: str) -> np.ndarray:
        if name not in self._weights:
            raise ModelError(f"tensor {name} is missing")
        return self._weights[name]

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        """y = W x for every row of x; matrices are stored [out, in]."""
        return x @ self.weight(name + ".weight").T

    def norm(self, name: str, x: np.ndarray, eps: float) -> np.ndarray:
        return rms_norm(x, self.weight(name + ".weight"), eps)

    def slopes(self) -> np.ndarray:
        return slopes(self.config.heads)

    def decay(self, layer: int) -> np.ndarray:
        """exp(-s f) for every head."""
        return np.exp(-self.slopes() * layer_factor(layer, self.config.layers))

    def lightning(self, layer: int, y: np.ndarray, sequence: Sequence) -> np.ndarray:
        c, name, n = self.config, f"model.layers.{layer}.self_attn", len(y)
        z = silu(self.linear(name + ".qkv_proj", y)).reshape(n, c.heads, 3, c.head_dim)
        q, k, v = z[:, :, 0], z[:, :, 1], z[:, :, 2]
        decay = self.decay(layer).astype(self.dtype)[:, None, None]
        state = sequence.matrices.get(layer, np.zeros((c.heads, c.head_dim, c.head_dim), self.dtype))
        out = np.empty((n, c.heads, c.head_dim), self.dtype)
        for t in range(n):
            state = decay * state + k[t][:, :, None] * v[t][:, None, :]
            out[t] = np.matmul(q[t][:, None, :], state)[:, 0]
        sequence.matrices[layer] = state
        normed = self.norm(name + ".norm", out.reshape(n, -1), LIGHTNING_NORM_EPS)
        return self.linear(name + ".out_proj", sigmoid(self.linear(name + ".output_gate", y)) * normed)

    def cache(self, layer: int, k: np.ndarray, v: np.ndarray, sequence: Sequence) -> tuple[np.ndarray, np.ndarray]:
        """Appends rotated keys and plain values to the layer's cache; returns all of both."""
        if layer in sequence.keys:
            k = np.concatenate([sequence.keys[layer], k])
            v = np.concatenate([sequence.values[layer], v])
        sequence.keys[layer], sequence.values[layer] = k, v
        return k, v

    def weigh(self, scores: np.ndarray, visible: np.ndarray) -> np.ndarray:
        """Softmax of scores [..., queries, keys] over the keys that visible [queries, keys] allows."""
        return softmax(np.where(visible, scores, -np.inf))

    def softmax_attention(self, layer: int, y: np.ndarray, sequence: Sequence) -> np.ndarray:
        c, name, n, past = self.config, f"model.layers.{layer}.self_attn", len(y), sequence.position
        q = self.linear(name + ".q_proj", y).reshape(n, c.heads, c.head_dim)
        k = self.linear(name + ".k_proj", y).reshape(n, c.kv_heads, c.head_dim)
        v = self.linear(name + ".v_proj", y).reshape(n, c.kv_heads, c.head_dim)
        q = rope(q, past, c.rotary_dim, c.rope_theta)
        k, v = self.cache(layer, rope(k, past, c.rotary_dim, c.rope_theta), v, sequence)
        out = np.empty((n, c.heads, c.head_dim), self.dtype)
        for begin in range(0, n, QUERIES_AT_A_TIME):
            end = min(n, begin + QUERIES_AT_A_TIME)
            visible = np.arange(past + end)[None, :] <= np.arange(past + begin, past + end)[:, None]
            for a in range(c.heads):
                g = a // (c.heads // c.kv_heads)
                scores = q[begin:end, a] @ k[: past + end, g].T / self.dtype(np.sqrt(c.head_dim))
                out[begin:end, a] = self.weigh(scores, visible) @ v[: past + end, g]
        return self.linear(name + ".o_proj", out.reshape(n, -1))

    def router(self, layer: int, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Chosen experts [n, K], their weights, and for each row the smallest gap between neighbours among its
        K + 1 best logits: what a rounding error would have to bridge to change the choice or its order."""
        count = self.config.experts_per_token
        logits = self.linear(f"model.layers.{layer}.block_sparse_moe.gate", y)
        order = np.argsort(-logits, axis=-1, kind="stable")
        chosen = order[:, :count]
        p = np.take_along_axis(softmax(logits), chosen, axis=-1)
        best = np.take_along_axis(logits, order[:, : count + 1], axis=-1)
        margins = np.abs(np.diff(best, axis=-1)).min(axis=-1) if best.shape[1] > 1 else np.full(len(y), np.inf)
        return chosen, p / p.sum(axis=-1, keepdims=True), margins

    def mlp(self, names: tuple[str, str, str], y: np.ndarray) -> np.ndarray:
        gate, up, down = names
        return self.linear(down, silu(self.linear(gate, y)) * self.linear(up, y))

    def experts(self, layer: int, y: np.ndarray, chosen: np.ndarray, weights: np.ndarray) -> np.ndarray:
        out = np.zeros_like(y)
        for e in range(self.config.experts):
            rows, ranks = np.nonzero(chosen == e)
            if len(rows):
                name = f"model.layers.{layer}.block_sparse_moe.experts.{e}"
                out[rows] += weights[rows, ranks][:, None] * self.mlp((name + ".w1", name + ".w3", name + ".w2"), y[rows])
        return out

    def moe(self, layer: int, y: np.ndarray, chosen: np.ndarray, weights: np.ndarray) -> np.ndarray:
        out = self.experts(layer, y, chosen, weights)
        if not self.config.shared_expert:
            return out
        name = f"model.layers.{layer}"
        part = sigmoid(self.linear(name + ".coefficient", y))
        shared = name + ".shared_mlp"
        return (1 - part) * out + part * self.mlp((shared + ".gate_proj", shared + ".up_proj", shared + ".down_proj"), y)

    def add(self, kind: str, x: np.ndarray, y: np.ndarray, branch: np.ndarray) -> np.ndarray:
        """alpha * (normalised value if postnorm, else the value before the norm) + beta * branch."""
        alpha, beta = self.config.residual[kind]
        return self.dtype(alpha) * (y if self.config.postnorm else x) + self.dtype(beta) * branch

    def head(self, x: np.ndarray) -> np.ndarray:
        y = self.norm("model.norm", x, self.config.eps)
        return self.linear("model.embed_tokens" if self.config.tied else "lm_head", y)

    def embed(self, ids: np.ndarray) -> np.ndarray:
        if len(ids) and not (0 <= ids.min() and ids.max() < self.config.vocab):
            raise ModelError(f"ids lie outside of 0..{self.config.vocab - 1}")
        return self.weight("model.embed_tokens.weight")[ids]

    def forward(self, ids: np.ndarray, sequence: Optional[Sequence] = None) -> Trace:
        """Runs ids after what the sequence (a new one if None) has seen, and leaves the state there."""
        sequence = sequence if sequence is not None else Sequence()
        with np.errstate(over="ignore", invalid="ignore"):
            return self._forward(np.asarray(ids), sequence)

    def _forward(self, ids: np.ndarray, sequence: Sequence) -> Trace:
        x = self.embed(ids)
        hidden, routes = [], []
        for layer, kind in enumerate(self.config.kinds):
            name = f"model.layers.{layer}"
            y = self.norm(name + ".input_layernorm", x, self.config.eps)
            if kind == LIGHTNING:
                x = self.add("linear_attention", x, y, self.lightning(layer, y, sequence))
            else:
                x = self.add("full_attention", x, y, self.softmax_attention(layer, y, sequence))
            y = self.norm(name + ".post_attention_layernorm", x, self.config.eps)
            chosen, weights, margins = self.router(layer, y)
            x = self.add("mlp", x, y, self.moe(layer, y, chosen, weights))
            hidden.append(x)
            routes.append((chosen, weights, margins))
        sequence.position += len(ids)
        chosen, weights, margins = (np.stack(part) for part in zip(*routes))
        states = {layer: matrix.copy() for layer, matrix in sequence.matrices.items()}
        return Trace(self.head(x), np.stack(hidden), chosen, weights, states, margins)

    def greedy(self, ids: np.ndarray, count: int) -> tuple[np.ndarray, float]:
        """The arg-max continuation (lowest id among equals), and the smallest gap of two best logits on the way."""
        sequence, out, gap = Sequence(), [], np.inf
        logits = self.forward(ids, sequence).logits[-1]
        for _ in range(count):
            second, best = np.sort(logits)[-2:]
            gap = min(gap, float(best - second))
            out.append(int(np.argmax(logits)))
            logits = self.forward(np.array(out[-1:]), sequence).logits[-1]
        return np.array(out, dtype=np.int32), gap
