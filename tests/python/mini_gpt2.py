# SPDX-License-Identifier: MIT
"""A small GPT-2 in PyTorch, with transformers' names, for where transformers is not installed."""
import math

import torch
from torch import nn


class Conv1D(nn.Module):
    """A linear layer with its weight lying as [in, out]."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_in, n_out) * 0.02)
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x):
        return x @ self.weight + self.bias


class Attention(nn.Module):
    def __init__(self, n_embd, n_head):
        super().__init__()
        self.c_attn, self.c_proj = Conv1D(n_embd, 3 * n_embd), Conv1D(n_embd, n_embd)
        self.n_head = n_head

    def forward(self, x):
        batch, seq, n_embd = x.shape
        # each [batch, n_head, seq, n_embd / n_head]
        q, k, v = (part.view(batch, seq, self.n_head, -1).transpose(1, 2)
                   for part in self.c_attn(x).split(n_embd, dim=2))
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        scores = scores.masked_fill(torch.ones(seq, seq).triu(1).bool(), float('-inf'))
        return self.c_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, seq, n_embd))


class Block(nn.Module):
    def __init__(self, n_embd, n_head):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.attn = Attention(n_embd, n_head)
        self.mlp = nn.Sequential(Conv1D(n_embd, 4 * n_embd), nn.GELU(), Conv1D(4 * n_embd, n_embd))

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, n_vocab, n_positions, n_embd, n_layer, n_head):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(n_vocab, n_embd), nn.Embedding(n_positions, n_embd)
        self.h = nn.Sequential(*(Block(n_embd, n_head) for _ in range(n_layer)))
        self.ln_f = nn.LayerNorm(n_embd)

    def forward(self, ids):
        return self.ln_f(self.h(self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))))


class GPT2(nn.Module):
    """ids [batch, seq] to logits [batch, seq, n_vocab]; the head is tied unless tie is False."""

    def __init__(self, n_vocab, n_positions, n_embd, n_layer=2, n_head=4, tie=True):
        super().__init__()
        self.transformer = Transformer(n_vocab, n_positions, n_embd, n_layer, n_head)
        self.lm_head = nn.Linear(n_embd, n_vocab, bias=False)
        if tie:
            self.lm_head.weight = self.transformer.wte.weight

    def forward(self, ids):
        return self.lm_head(self.transformer(ids))
