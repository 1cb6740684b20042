"""A Llama-architecture decoder, small enough to train on two CPU cores.

RoPE rotates interleaved pairs, as llama.cpp's "NORM" type does, so the
weights are exported without a permutation. Embeddings are tied.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Config:
    vocab: int = 2048
    dim: int = 256
    layers: int = 6
    heads: int = 8
    hidden: int = 704
    context: int = 1024
    rope_base: float = 10000.0
    norm_eps: float = 1e-5
    dropout: float = 0.15


class RMSNorm(nn.Module):
    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rope_table(config: Config):
    head = config.dim // config.heads
    inverse = config.rope_base ** (-torch.arange(0, head, 2).float() / head)
    angles = torch.outer(torch.arange(config.context).float(), inverse)
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    """x: [batch, heads, length, head]; pairs are (0, 1), (2, 3), …"""
    even, odd = x.float()[..., 0::2], x.float()[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2).to(x.dtype)


def drop(x, p: float, training: bool):
    """Dropout whose mask is shared by all positions of a sequence: the result here is as good, and it is much cheaper on a CPU."""
    if not training or p == 0:
        return x
    return x * (torch.rand(x.shape[0], 1, x.shape[2]) >= p).float().div_(1 - p)


def attend(q, k, v):
    """Causal attention, written out because the backward pass of PyTorch's own is several times slower in bfloat16 on a CPU."""
    b, h, t, d = q.shape
    q, k, v = (x.reshape(b * h, t, d) for x in (q, k, v))
    later = torch.full((t, t), -1e4, dtype=q.dtype).triu(1)
    scores = torch.baddbmm(later.expand(b * h, t, t), q, k.transpose(1, 2), alpha=d**-0.5)
    return torch.bmm(scores.softmax(-1), v).view(b, h, t, d)


class Block(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        d, self.heads, self.drop = config.dim, config.heads, config.dropout
        self.attention_norm = RMSNorm(d, config.norm_eps)
        self.ffn_norm = RMSNorm(d, config.norm_eps)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.gate = nn.Linear(d, config.hidden, bias=False)
        self.up = nn.Linear(d, config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, d, bias=False)

    def forward(self, x, cos, sin):
        b, t, d = x.shape
        h = self.attention_norm(x)
        q, k, v = (m(h).view(b, t, self.heads, d // self.heads).transpose(1, 2) for m in (self.q, self.k, self.v))
        h = attend(rotate(q, cos, sin), rotate(k, cos, sin), v)
        x = x + drop(self.o(h.transpose(1, 2).reshape(b, t, d)), self.drop, self.training)
        h = self.ffn_norm(x)
        return x + drop(self.down(F.silu(self.gate(h)) * self.up(h)), self.drop, self.training)


class Llama(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab, config.dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        cos, sin = rope_table(config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                scale = (2 * config.layers) ** -0.5 if name.endswith(("o.weight", "down.weight")) else 1.0
                nn.init.normal_(p, 0.0, 0.02 * scale if name != "embed.weight" else 0.02)

    def hidden(self, tokens):
        t = tokens.shape[1]
        x = drop(self.embed(tokens), self.config.dropout, self.training)
        for block in self.blocks:
            x = block(x, self.cos[:t], self.sin[:t])
        return self.norm(x)

    def loss(self, tokens, weights):
        """Weighted mean cross-entropy of tokens[:, 1:]; weights: [batch, length], 0 where nothing is learned."""
        h, target, w = self.hidden(tokens[:, :-1]), tokens[:, 1:], weights[:, 1:]
        at = w > 0
        losses = F.cross_entropy(F.linear(h[at], self.embed.weight).float(), target[at], reduction="none")
        return (losses * w[at]).sum() / w[at].sum()

    def forward(self, tokens):
        return F.linear(self.hidden(tokens), self.embed.weight).float()
