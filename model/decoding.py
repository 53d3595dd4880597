"""Latents of a stream become pictures, chunk by chunk: by the tiny autoencoder, or by the full one.

Either carries what it needs of the past, so that chunks meet as if they had been decoded in one piece. A session's memory
is a value that only its decoder understands. Knows nothing of how latents are made.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from model import vae_layers
from model.carried import Still
from model.tiny_vae import Memory, TinyVAE
from model.vae import VAE

STILL_LATENTS = 4  # until the tiny decoder's memory has settled
STILL_PICTURES = 2  # latents: the first is a single picture, the second is like all that follow


class Decoder(Protocol):
    def at_rest(self, latent: Tensor, picture: Tensor | None = None) -> object:
        """The memory of a session in which the picture of this latent, 1 c 1 h w, has stood still. `picture` 1 3 H W is for
        decoders that carry it along."""

    def decode(self, latents: Tensor, memories: list) -> tuple[Tensor, list]:
        """The next latents b c t h w -> pictures b f 3 H W in 0 … 1 (not clamped), and the memories after them."""


@dataclass(frozen=True)
class TinyMemory:
    layers: Memory
    still: Still | None = None


class TinyDecoder:
    def __init__(self, vae: TinyVAE) -> None:
        self.vae = vae

    def at_rest(self, latent: Tensor, picture: Tensor | None = None) -> TinyMemory:
        layers: Memory | None = None
        still = None if picture is None else Still(latent[:, :, 0], picture)
        for _ in range(STILL_LATENTS):
            _, layers = self.vae.decode(latent.transpose(1, 2), layers, still)
        return TinyMemory(layers, still)

    def decode(self, latents: Tensor, memories: list[TinyMemory]) -> tuple[Tensor, list[TinyMemory]]:
        layers = [torch.cat(parts) for parts in zip(*(memory.layers for memory in memories), strict=True)]
        stills = [memory.still for memory in memories]
        still = None
        if stills[0] is not None:
            still = Still(torch.cat([one.latents for one in stills]), torch.cat([one.picture for one in stills]))
        pictures, layers = self.vae.decode(latents.transpose(1, 2), layers, still)
        return pictures, [TinyMemory([part[row : row + 1] for part in layers], one) for row, one in enumerate(stills)]


class FullDecoder:
    """HunyuanVideo's VAE, whose norms take their statistics from the character's still: later ones would let brightness
    jump where chunks meet."""

    def __init__(self, vae: VAE) -> None:
        self.vae = vae

    def at_rest(self, latent: Tensor, picture: Tensor | None = None) -> vae_layers.Memory:
        _, memory = self.vae.decode(self._given(latent).expand(-1, -1, STILL_PICTURES, -1, -1))
        return memory

    def decode(self, latents: Tensor, memories: list[vae_layers.Memory]) -> tuple[Tensor, list[vae_layers.Memory]]:
        """A session and a latent at a time, in the memory of one; the numbers are the same."""
        pictures, after = [], []
        for row, memory in zip(self._given(latents).split(1), memories, strict=True):
            parts = []
            for latent in row.split(1, 2):
                part, memory = self.vae.decode(latent, memory)
                parts.append(part)
            pictures.append(torch.cat(parts, 2))
            after.append(memory)
        return torch.cat(pictures).transpose(1, 2) / 2 + 0.5, after

    def _given(self, latents: Tensor) -> Tensor:
        return self.vae.unscaled(latents.to(self.vae.post_quant_conv.weight.dtype))


def decoder_of(vae: TinyVAE | VAE) -> Decoder:
    return TinyDecoder(vae) if isinstance(vae, TinyVAE) else FullDecoder(vae)
