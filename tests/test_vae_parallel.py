"""Ranks that share the tiles of a picture get, to the last bit, what one makes alone, and send each tile once to each."""

from dataclasses import replace

import pytest
import torch

from model.vae import VAE
from model.vae_parallel import divided
from tests.test_parallel import in_threads
from tests.tiny_checkpoint import TINY_VAE, randomised

LATENTS = 6


@pytest.fixture(scope="module")
def vae():
    tiles = replace(TINY_VAE, sample_size=32, sample_tsize=16)  # of 4 x 4 latents, five of them in time
    return randomised(VAE(tiles), 0.2)


@pytest.mark.parametrize("size", [2, 3])
def test_a_clip_decoded_by_several_is_the_clip_decoded_by_one(vae, size):
    latents = torch.randn(1, TINY_VAE.latent_channels, LATENTS, 5, 7, generator=torch.Generator().manual_seed(1))

    @torch.inference_mode()
    def decode(group=None):
        return torch.cat(list(vae.tiled_pictures(latents, group) if group else vae.tiled_pictures(latents)), 2)

    expected = decode()
    assert expected.shape == (1, 3, 4 * LATENTS - 3, 40, 56)
    assert all(torch.equal(made, expected) for made in in_threads(size, decode))


@pytest.mark.parametrize("size", [2, 3, 4])
def test_each_tile_goes_once_to_each_other_rank(size):
    tiles = [torch.full((1, 2, 3, 4, 5 + place), float(place)) for place in range(5)]

    def work(group):
        made = divided(lambda tile: 2 * tile[:, :, :, 1:], tiles, group)
        assert all(torch.equal(one, 2 * tile[:, :, :, 1:]) for one, tile in zip(made, tiles, strict=True))
        own = tiles[group.rank :: size]
        shapes = len(own) * 5 * 8
        assert group.sent_bytes == (size - 1) * (sum(tile[:, :, :, 1:].nbytes for tile in own) + shapes)
        return True

    in_threads(size, work)


def test_more_ranks_than_tiles():
    tiles = [torch.ones(1, 1, 1, 2, 2), torch.zeros(1, 1, 1, 2, 2)]
    for made in in_threads(4, lambda group: divided(torch.exp, tiles, group)):
        assert [float(tile.log().mean()) for tile in made] == [1, 0]
