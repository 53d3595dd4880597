"""A decoder whose growing and convolutions are one paints the same pictures, and streams as it did."""

import copy

import pytest
import torch
from torch import nn

from model.folded import Grown, fold
from model.tiny_vae import TGrow, TinyVAE, TinyVAEConfig


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("frames", [1, 2])
@torch.inference_mode()
def test_three_layers_are_one_up_to_the_edges(scale, frames):
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Upsample(scale_factor=scale), TGrow(5, frames), nn.Conv2d(5, 7, 3, padding=1, bias=False)
    )  # fmt: skip
    x = torch.randn(3, 5, 4, 6)
    wanted = layers(x)
    fold(layers)
    assert isinstance(layers[2], Grown) and wanted.shape == (3 * frames, 7, 4 * scale, 6 * scale)
    torch.testing.assert_close(layers(x), wanted)


@torch.inference_mode()
def test_a_folded_decoder_streams_the_same_pictures():
    torch.manual_seed(1)
    config = TinyVAEConfig(
        patch_size=2, latent_channels=4, encoder_width=8, encoder_blocks=1, encoder_time_downscale=(True, True, False),
        decoder_widths=(12, 8, 8, 6), decoder_blocks=(1, 1, 1), frames_to_trim=0,
    )  # fmt: skip
    vae = TinyVAE(config).eval()
    folded = copy.deepcopy(vae)
    fold(folded.decoder)
    assert sum(isinstance(layer, Grown) for layer in folded.decoder) == 3
    latents, memory, parts = torch.randn(2, 3, 4, 4, 4), None, []
    for latent in latents.split(1, 1):
        part, memory = folded.decode(latent, memory)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), vae.decode(latents)[0], atol=1e-5, rtol=1e-4)


def test_other_layers_stay():
    layers = nn.Sequential(nn.Upsample(scale_factor=2), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.ReLU())
    before = list(layers)
    fold(layers)
    assert list(layers) == before
