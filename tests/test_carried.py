"""The portrait that a decoder carries along: displacement, paint over it, larger pictures, streams and batches."""

from dataclasses import replace

import pytest
import torch

from model.carried import FLOW_GRAIN, Painting, Still, carried, channels, composed, painting
from model.decoding import TinyDecoder
from model.tiny_vae import TinyVAE
from tests.tiny import TINY

CARRYING = replace(TINY.vae, carries=True, patch_size=4)


@pytest.fixture(scope="module")
def picture():
    torch.manual_seed(0)
    return torch.rand(2, 3, 32, 32)


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(1)
    vae = TinyVAE(CARRYING).eval()
    for weight in vae.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return vae


def still_of(picture):
    torch.manual_seed(2)
    return Still(torch.randn(len(picture), 4, 2, 2), picture)


def flow(right, down, batch=2, frames=3, side=32):
    uniform = torch.tensor([right, down], dtype=torch.float32)[:, None, None]
    return uniform.expand(batch, frames, 2, side // FLOW_GRAIN, side // FLOW_GRAIN)


def test_what_does_not_move_is_the_portrait_itself(picture):
    moved = carried(flow(0, 0), picture)
    assert moved.shape == (2, 3, 3, 32, 32)
    torch.testing.assert_close(moved, picture[:, None].expand(-1, 3, -1, -1, -1))


def test_flow_says_where_in_the_portrait_a_pixel_comes_from(picture):
    moved = carried(flow(3, -2), picture)
    torch.testing.assert_close(moved[:, 1, :, 2:, :-3], picture[:, :, :-2, 3:])


def test_beyond_the_portrait_its_edge_goes_on(picture):
    moved = carried(flow(100, 0), picture)
    torch.testing.assert_close(moved[:, 0], picture[:, :, :, -1:].expand_as(picture))


def test_a_crop_is_that_part_of_the_whole(picture):
    whole = carried(flow(1.5, 0.25), picture)
    crop = carried(flow(1.5, 0.25, side=16), picture, torch.tensor([[8.0, 4.0], [16.0, 0.0]]), (16, 16))
    torch.testing.assert_close(crop[0], whole[0, :, :, 4:20, 8:24])
    torch.testing.assert_close(crop[1], whole[1, :, :, 0:16, 16:32])


def test_a_larger_portrait_moves_by_as_much_of_its_width():
    large = torch.rand(1, 3, 64, 64)
    moved = carried(flow(3, 0, batch=1, frames=1), large)
    assert moved.shape == (1, 1, 3, 64, 64)
    torch.testing.assert_close(moved[:, 0, :, :, :-6], large[:, :, :, 6:])


def test_paint_covers_the_portrait_where_its_share_is_small(picture):
    share = torch.zeros(2, 1, 1, 32, 32)
    share[..., 16:] = 1
    paint = torch.full((2, 1, 3, 32, 32), 0.25)
    made = composed(Painting(paint, share, flow(0, 0, frames=1)), picture)
    assert (made[..., :16] == 0.25).all()
    torch.testing.assert_close(made[:, 0, :, :, 16:], picture[:, :, :, 16:])


def test_outputs_are_read_as_paint_share_and_flow():
    said = painting(torch.zeros(1, 2, channels(4), 8, 8), 4)
    assert said.paint.shape == (1, 2, 3, 32, 32) and said.flow.shape == (1, 2, 2, 16, 16)
    assert (said.share == 0.5).all()


def test_a_stream_in_pieces_is_the_whole_stream(vae, picture):
    latents, still = torch.randn(2, 4, 4, 2, 2), still_of(picture)
    whole, _ = vae.decode(latents, None, still)
    memory, parts = None, []
    for latent in latents.split(1, 1):
        part, memory = vae.decode(latent, memory, still)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole)


def test_sessions_in_a_batch_keep_their_own_portraits(vae, picture):
    decoder, still, latents = TinyDecoder(vae), still_of(picture), torch.randn(2, 4, 1, 2, 2)
    at_rest = [decoder.at_rest(still.latents[row : row + 1, :, None], picture[row : row + 1]) for row in (0, 1)]
    together, after = decoder.decode(latents, at_rest)
    for row in (0, 1):
        alone, _ = decoder.decode(latents[row : row + 1], at_rest[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-3, rtol=0)
        assert after[row].still.picture is at_rest[row].still.picture
    assert not torch.allclose(together[0], together[1])


def test_latents_say_how_a_picture_differs_from_the_still(vae, picture):
    still, frames = picture, picture[:, None].expand(-1, 2, -1, -1, -1)
    own = vae.encode(frames)[0]
    torch.testing.assert_close(vae.encode(frames, still=still)[0], own)
    assert not torch.allclose(vae.encode(frames, still=still.flip(0))[0], own)
