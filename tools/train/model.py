"""MiniMax-M1's architecture for training: lightning and softmax attention, a mixture of experts, post-norm residuals.

The same mathematics as docs/model.md, arranged so that all but attention sees one long list of tokens [N, hidden]
whatever the rows' length, and the compiler meets one shape. All experts are computed for all tokens and those that were
not chosen are weighed with zero: at these sizes that is cheaper than sorting, and exact.

Parameters are kept in float32; `dtype` is what products are computed in. In bfloat16 the weights are thus rounded
as they will be stored.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 64
LIGHTNING_NORM_EPS = 1e-6


@dataclass(frozen=True)
class Shape:
    hidden: int = 256
    layers: int = 8
    softmax_every: int = 8
    heads: int = 16
    head_dim: int = 32
    kv_heads: int = 8
    rotary_dim: int = 8
    rope_theta: float = 10_000_000
    experts: int = 32
    chosen: int = 2
    inner: int = 40
    vocab: int = 4096
    positions: int = 65536
    eps: float = 1e-5

    @property
    def alpha(self) -> float:
        return (2 * self.layers) ** 0.25

    def is_softmax(self, layer: int) -> bool:
        return (layer + 1) % self.softmax_every == 0


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps))


def product(x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype) @ weight.to(dtype).T


def lightning_local(x: Tensor, norm: Tensor, qkv: Tensor, decay: Tensor, eps: float, heads: int, dtype: torch.dtype):
    """What a block of 64 gives without its past: y, decayed queries, its own outputs, its increment of the state."""
    y = rms_norm(x, norm, eps)
    q, k, v = F.silu(product(y, qkv, dtype)).view(-1, BLOCK, heads, 3, qkv.shape[0] // heads // 3).permute(3, 0, 2, 1, 4)
    steps = torch.arange(BLOCK, device=x.device)
    gap = steps[:, None] - steps[None, :]
    within = torch.exp(-decay[:, None, None] * gap.clamp(min=0)) * (gap >= 0)
    out = (q @ k.transpose(-1, -2) * within.to(dtype)) @ v
    late = torch.exp(-decay[:, None] * (BLOCK - 1 - steps)).to(dtype)
    early = torch.exp(-decay[:, None] * (steps + 1)).to(dtype)
    increment = (k * late[..., None]).transpose(-1, -2) @ v
    return y, q * early[..., None], out, increment.float()


def chain(increment: Tensor, rows: int, decay: Tensor) -> Tensor:
    """States before each block [rows * blocks, heads, d, d], of the increments."""
    heads, d = increment.shape[1], increment.shape[2]
    per_row = increment.view(rows, -1, heads, d * d)
    blocks = torch.arange(per_row.shape[1], device=increment.device)
    gap = blocks[:, None] - 1 - blocks[None, :]
    weights = torch.exp(-decay[:, None, None] * BLOCK * gap.clamp(min=0)) * (gap >= 0)
    return torch.einsum("hnm,bmhe->bnhe", weights, per_row).reshape(increment.shape)


def mixture(x: Tensor, norm: Tensor, gate: Tensor, w1: Tensor, w3: Tensor, w2: Tensor, alpha: float, eps: float,
            chosen: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    y = rms_norm(x, norm, eps)
    probability = (y @ gate.T).softmax(-1)
    best, which = probability.topk(chosen, dim=-1)
    weights = torch.zeros_like(probability).scatter(1, which, best / best.sum(-1, keepdim=True))
    hidden = F.silu(product(y, w1, dtype)) * product(y, w3, dtype)
    hidden = (hidden.view(len(x), len(gate), -1) * weights[..., None].to(dtype)).view(len(x), -1)
    load = (weights > 0).float().mean(0)
    balance = len(gate) / chosen * (load * probability.mean(0)).sum()
    return alpha * y + product(hidden, w2, dtype).float(), balance


def lightning_finish(x: Tensor, y: Tensor, q: Tensor, out: Tensor, state: Tensor, norm: Tensor, gate: Tensor, out_proj: Tensor,
                     alpha: float, dtype: torch.dtype) -> Tensor:
    out = (out + q @ state.to(dtype)).transpose(1, 2).reshape(len(x), -1)
    normed = rms_norm(out.float(), norm, LIGHTNING_NORM_EPS)
    return alpha * y + product(torch.sigmoid(product(y, gate, dtype)) * normed.to(dtype), out_proj, dtype).float()


def lightning_rest(x, y, q, out, state, norm, gate, out_proj, experts, alpha, eps, chosen, dtype):
    return mixture(lightning_finish(x, y, q, out, state, norm, gate, out_proj, alpha, dtype), *experts, alpha, eps, chosen, dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [N, heads, d]; cos, sin [N, 1, r/2]."""
    half = cos.shape[-1]
    low, high, rest = x[..., :half].float(), x[..., half : 2 * half].float(), x[..., 2 * half :]
    return torch.cat([(low * cos - high * sin).to(x.dtype), (high * cos + low * sin).to(x.dtype), rest], -1)


def softmax_local(x, norm, q_proj, k_proj, v_proj, cos, sin, eps, head_dim, dtype):
    y = rms_norm(x, norm, eps)
    q, k, v = (product(y, w, dtype).view(len(x), -1, head_dim) for w in (q_proj, k_proj, v_proj))
    return y, rotate(q, cos, sin), rotate(k, cos, sin), v


def softmax_rest(y, out, o_proj, experts, alpha, eps, chosen, dtype):
    return mixture(alpha * y + product(out, o_proj, dtype).float(), *experts, alpha, eps, chosen, dtype)


class Layer(nn.Module):
    def __init__(self, shape: Shape, softmax: bool) -> None:
        super().__init__()
        inner, hidden = shape.heads * shape.head_dim, shape.hidden
        small = (8 * shape.layers) ** -0.25

        def matrix(rows: int, columns: int, gain: float = 1.0) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns) * gain / math.sqrt(columns))

        self.input_norm, self.mlp_norm = nn.Parameter(torch.ones(hidden)), nn.Parameter(torch.ones(hidden))
        if softmax:
            self.q, self.k = matrix(inner, hidden), matrix(shape.kv_heads * shape.head_dim, hidden)
            self.v, self.o = matrix(shape.kv_heads * shape.head_dim, hidden), matrix(hidden, inner, small)
        else:
            self.qkv, self.gate = matrix(3 * inner, hidden), matrix(inner, hidden)
            self.norm, self.out = nn.Parameter(torch.ones(inner)), matrix(hidden, inner, small)
        self.router = matrix(shape.experts, hidden)
        self.w1, self.w3 = matrix(shape.experts * shape.inner, hidden), matrix(shape.experts * shape.inner, hidden)
        self.w2 = nn.Parameter(torch.randn(hidden, shape.experts * shape.inner) * small / math.sqrt(shape.inner))

    def experts(self) -> tuple[Tensor, ...]:
        return self.mlp_norm, self.router, self.w1, self.w3, self.w2


def slopes(heads: int) -> Tensor:
    below = 1 << (heads.bit_length() - 1)
    own = [2.0 ** (-8.0 * (a + 1) / below) for a in range(below)]
    between = [2.0 ** (-8.0 * (a + 1) / (2 * below)) for a in range(0, 2 * below, 2)]
    return torch.tensor(own + between[: heads - below])


class Model(nn.Module):
    def __init__(self, shape: Shape, dtype: torch.dtype = torch.float32, compiled: bool = False) -> None:
        super().__init__()
        self.shape, self.dtype = shape, dtype
        self.embed = nn.Parameter(torch.randn(shape.vocab, shape.hidden) * 0.05)
        self.blocks = nn.ModuleList(Layer(shape, shape.is_softmax(i)) for i in range(shape.layers))
        self.final_norm = nn.Parameter(torch.ones(shape.hidden))
        self.lm_head = nn.Parameter(torch.randn(shape.vocab, shape.hidden) * 0.5 / math.sqrt(shape.hidden))
        last = max(1, shape.layers - 1)
        factors = torch.tensor([1 - i / last + 1e-5 for i in range(shape.layers)])
        self.register_buffer("decays", slopes(shape.heads)[None, :] * factors[:, None], persistent=False)
        wrap = (lambda f: torch.compile(f, dynamic=False)) if compiled else (lambda f: f)
        self.lightning_local, self.lightning_rest = wrap(lightning_local), wrap(lightning_rest)
        self.softmax_local, self.softmax_rest = wrap(softmax_local), wrap(softmax_rest)

    def angles(self, rows: int, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        s = self.shape
        powers = torch.tensor([s.rope_theta ** (2 * i / s.rotary_dim) for i in range(s.rotary_dim // 2)])
        angle = torch.arange(length, dtype=torch.float32)[:, None] * (1.0 / powers)[None, :]
        angle = angle.to(device).repeat(rows, 1)[:, None, :]
        return angle.cos(), angle.sin()

    def attend(self, q: Tensor, k: Tensor, v: Tensor, rows: int) -> Tensor:
        heads, group = self.shape.heads, self.shape.heads // self.shape.kv_heads
        q, k, v = (t.view(rows, -1, t.shape[1], t.shape[2]).transpose(1, 2) for t in (q, k, v))
        k, v = (t.repeat_interleave(group, 1) for t in (k, v))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return out.transpose(1, 2).reshape(-1, heads * self.shape.head_dim)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """ids [rows, length], length a multiple of 64; the final norm's output [rows * length, hidden], and the balance loss."""
        s, rows, balances = self.shape, len(ids), []
        x = self.embed.to(self.dtype)[ids.reshape(-1)].float()
        cos, sin = self.angles(rows, ids.shape[1], ids.device)
        for i, layer in enumerate(self.blocks):
            tail = (layer.experts(), s.alpha, s.eps, s.chosen, self.dtype)
            if s.is_softmax(i):
                y, q, k, v = self.softmax_local(x, layer.input_norm, layer.q, layer.k, layer.v, cos, sin, s.eps, s.head_dim,
                                                self.dtype)
                x, balance = self.softmax_rest(y, self.attend(q, k, v, rows), layer.o, *tail)
            else:
                decay = self.decays[i]
                y, q, out, increment = self.lightning_local(x, layer.input_norm, layer.qkv, decay, s.eps, s.heads, self.dtype)
                state = chain(increment, rows, decay)
                x, balance = self.lightning_rest(x, y, q, out, state, layer.norm, layer.gate, layer.out, *tail)
            balances.append(balance)
        return rms_norm(x, self.final_norm, s.eps), torch.stack(balances)

    def logits(self, final: Tensor) -> Tensor:
        return product(final, self.lm_head, self.dtype).float()
