"""The token refiner: text-encoder states become the transformer's text tokens. Knows nothing of prompts or tokenizers.

It is conditioned on the timestep and on the masked mean of the states; it has gates but no shift or scale.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.attention import attend
from model.blocks import MLP, split_heads
from model.embed import ScalarEmbedder


class PooledEmbedder(nn.Module):
    def __init__(self, i: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(i, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class RefinerBlock(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.self_attn_qkv = nn.Linear(width, 3 * width)
        self.self_attn_proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, hidden, F.silu)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
        gate1, gate2 = self.adaLN_modulation(condition)[:, None].chunk(2, -1)
        q, k, v = split_heads(self.self_attn_qkv(self.norm1(x)), self.heads, nn.Identity(), nn.Identity())
        x = x + gate1 * self.self_attn_proj(attend(q, k, v, mask).flatten(-2))
        return x + gate2 * self.mlp(self.norm2(x))


class Blocks(nn.Module):
    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)


class TokenRefiner(nn.Module):
    def __init__(self, text_width: int, width: int, heads: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.input_embedder = nn.Linear(text_width, width)
        self.t_embedder = ScalarEmbedder(width)
        self.c_embedder = PooledEmbedder(text_width, width)
        self.individual_token_refiner = Blocks([RefinerBlock(width, heads, hidden) for _ in range(depth)])

    def forward(self, states: Tensor, timestep: Tensor, mask: Tensor) -> Tensor:
        """states b l c, timestep b (0 … 1000), mask b l (1 = valid) -> tokens b l d."""
        weight = mask.to(states.dtype)[..., None]
        mean = (states * weight).sum(1) / weight.sum(1)
        condition = self.t_embedder(timestep) + self.c_embedder(mean)
        valid = mask.bool()
        # Key 0 is open to every row: a row of padding would otherwise have nothing to attend to.
        may_see = valid[:, :, None] & valid[:, None, :]
        may_see[:, :, 0] = True
        x = self.input_embedder(states)
        for block in self.individual_token_refiner.blocks:
            x = block(x, condition, may_see[:, None])
        return x


def no_text(batch: int, width: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """States and mask of the one blank token that a model trained without prompts uses."""
    return torch.zeros(batch, 1, width, device=device), torch.ones(batch, 1, dtype=torch.int64, device=device)
