"""The causal VAE: the released names, a stream that equals the whole, a memory that ends, and tiles blended in place."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.tiling import Tiling, tiled
from model.vae import VAE, VAEConfig
from model.vae_layers import Memory, Stream

SHAPES = Path(__file__).parent / "golden" / "vae_shapes.json"  # of the released checkpoint, without its prefix `vae.`
CONFIG = VAEConfig(
    latent_channels=4, block_out_channels=(8, 8, 12, 12), layers_per_block=1, norm_num_groups=4, attention_past=3,
    sample_size=32, sample_tsize=16,
)  # fmt: skip
CLIP = 8  # latents, well beyond the attention's past
ROWS, COLUMNS = 3, 2


def random_vae(config: VAEConfig) -> VAE:
    torch.manual_seed(1)
    vae = VAE(config).eval()
    for weight in vae.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return vae


@pytest.fixture(scope="module")
def vae() -> VAE:
    return random_vae(CONFIG)


@pytest.fixture(scope="module")
def latents() -> Tensor:
    return torch.randn(2, CONFIG.latent_channels, CLIP, ROWS, COLUMNS, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def known(vae, latents) -> Memory:
    """The beginning of a stream with the statistics of the whole clip."""
    with torch.inference_mode():
        return vae.decode(latents)[1].restarted()


def in_chunks(vae: VAE, latents: Tensor, sizes: list[int], memory: Memory | None) -> tuple[list[Tensor], list[Memory]]:
    parts, memories = [], []
    for chunk in latents.split(sizes, 2):
        pictures, memory = vae.decode(chunk, memory)
        parts.append(pictures)
        memories.append(memory)
    return parts, memories


def same(one: Tensor, other: Tensor) -> bool:
    """Up to the order of summation, which a convolution may choose by where in memory its input lies."""
    return torch.allclose(one, other, rtol=0, atol=2e-6)


# --- names and sizes -------------------------------------------------------------------------------------------------


def test_the_released_size_has_the_released_names_and_shapes():
    with torch.device("meta"):
        released = VAE(VAEConfig())
    shapes = {name: list(tensor.shape) for name, tensor in released.state_dict().items()}
    assert shapes == json.loads(SHAPES.read_text())
    assert len(shapes) == 248 and sum(p.numel() for p in released.parameters()) == 246_478_803


def test_both_published_forms_of_the_config_are_read():
    original = {
        "_class_name": "AutoencoderKLCausal3D", "act_fn": "silu", "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlockCausal3D"] * 4, "latent_channels": 16, "layers_per_block": 2,
        "norm_num_groups": 32, "sample_size": 256, "sample_tsize": 64, "scaling_factor": 0.476986,
        "time_compression_ratio": 4, "mid_block_causal_attn": True,
    }  # fmt: skip
    theirs = {
        "_class_name": "AutoencoderKLHunyuanVideo", "act_fn": "silu", "block_out_channels": [128, 256, 512, 512],
        "latent_channels": 16, "layers_per_block": 2, "mid_block_add_attention": True, "norm_num_groups": 32,
        "scaling_factor": 0.476986, "spatial_compression_ratio": 8, "temporal_compression_ratio": 4,
    }  # fmt: skip
    assert VAEConfig.published(original) == VAEConfig.published(theirs) == VAEConfig()


def test_an_original_config_that_does_not_speak_of_the_mask_has_none():
    assert not VAEConfig.published({}).mid_block_causal_attn


@pytest.mark.parametrize(
    "values", [{"_class_name": "AutoencoderKLCogVideoX"}, {"act_fn": "gelu"}, {"mid_block_add_attention": False}]
)
def test_another_kind_of_vae_is_refused(values):
    with pytest.raises(ValueError):
        VAEConfig.published(values)


@pytest.mark.parametrize(
    "wrong",
    [{"norm_num_groups": 5}, {"time_compression_ratio": 16}, {"spatial_compression_ratio": 6}, {"attention_past": -1}],
)
def test_sizes_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError):
        replace(CONFIG, **wrong)


def test_levels_shrink_space_first_and_time_late():
    assert VAEConfig().factors == ((1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 1, 1))


# --- the stream ------------------------------------------------------------------------------------------------------


@torch.inference_mode()
@pytest.mark.parametrize("sizes", [[1] * CLIP, [3, 3, 2], [1, 5, 2]])
def test_chunks_equal_the_whole_with_the_same_statistics(vae, latents, known, sizes):
    whole, _ = vae.decode(latents)
    parts, _ = in_chunks(vae, latents, sizes, known)
    assert (torch.cat(parts, 2) - whole).abs().max() < 1e-5


@torch.inference_mode()
def test_the_first_latent_of_a_stream_is_one_picture_and_every_other_four(vae, latents, known):
    parts, _ = in_chunks(vae, latents, [1, 1, 3, 3], known)
    assert [part.shape[2:] for part in parts] == [(n, 8 * ROWS, 8 * COLUMNS) for n in (1, 4, 12, 12)]
    assert in_chunks(vae, latents, [3, 5], known)[0][0].shape[2] == 9


@torch.inference_mode()
def test_later_latents_never_change_earlier_pictures(vae, latents, known):
    changed = latents.clone()
    changed[:, :, 5:] += 1
    before, after = (vae.decode(z, known)[0] for z in (latents, changed))
    pictures = 4 * (5 - 1) + 1
    assert same(before[:, :, :pictures], after[:, :, :pictures])
    assert not torch.allclose(before[:, :, pictures], after[:, :, pictures])


@torch.inference_mode()
def test_statistics_of_a_whole_clip_do_look_ahead(vae, latents):
    """Why a stream cannot have them: they are the one thing in which later latents change earlier pictures."""
    changed = latents.clone()
    changed[:, :, 5:] += 1
    before, after = (vae.decode(z)[0] for z in (latents, changed))
    assert not torch.allclose(before[:, :, 0], after[:, :, 0], atol=1e-3)


@torch.inference_mode()
def test_a_stream_keeps_the_statistics_that_it_began_with(vae, latents):
    _, memories = in_chunks(vae, latents, [2, 6], None)
    first = vae.decode(latents[:, :, :2])[1]
    for memory in memories:
        for (mean, variance), (true_mean, true_variance) in zip(memory.statistics, first.statistics, strict=True):
            assert torch.equal(mean, true_mean) and torch.equal(variance, true_variance)


@torch.inference_mode()
def test_memory_ends_at_the_bound_of_the_attention(vae, latents, known):
    _, memories = in_chunks(vae, latents, [1] * CLIP, known)
    ((keys, values),) = memories[-1].attended
    assert keys.shape == values.shape == (2, CONFIG.attention_past * ROWS * COLUMNS, 1, CONFIG.block_out_channels[-1])
    sizes = [sum(tensor.untyped_storage().nbytes() for tensor in tensors_of(memory)) for memory in memories]
    assert sizes[0] < sizes[1] < sizes[2] == sizes[3] == sizes[-1]
    assert all(frames.shape[2] == 2 for frames in memories[-1].frames)


def tensors_of(memory: Memory) -> list[Tensor]:
    return [*memory.frames, *(tensor for pair in (*memory.statistics, *memory.attended) for tensor in pair)]


@torch.inference_mode()
def test_a_bounded_attention_is_the_unbounded_one_until_its_bound(vae, latents, known):
    everything = random_vae(replace(CONFIG, attention_past=None))
    seen_all = everything.decode(latents, known)[0]
    bounded = vae.decode(latents, known)[0]
    pictures = 4 * CONFIG.attention_past + 1  # those of the first latent and of `attention_past` more
    assert same(bounded[:, :, :pictures], seen_all[:, :, :pictures])
    assert not torch.allclose(bounded[:, :, pictures:], seen_all[:, :, pictures:], atol=1e-4)


@torch.inference_mode()
def test_a_memory_can_be_gone_on_from_twice(vae, latents, known):
    _, memory = vae.decode(latents[:, :, :4], known)
    once, again = (vae.decode(latents[:, :, 4:], memory)[0] for _ in range(2))
    assert same(once, again)


@torch.inference_mode()
def test_weights_that_look_ahead_decode_a_clip_but_no_stream(latents):
    ahead = random_vae(replace(CONFIG, mid_block_causal_attn=False))
    _, memory = ahead.decode(latents)
    changed = latents.clone()
    changed[:, :, 5:] += 1
    before, after = (ahead.decode(z, memory.restarted())[0] for z in (latents, changed))
    assert not same(before[:, :, 0], after[:, :, 0])
    with pytest.raises(ValueError, match="mid_block_causal_attn"):
        ahead.decode(latents, memory)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_its_statistics_in_full(vae, latents, dtype):
    half = random_vae(CONFIG).to(dtype)
    pictures, memory = half.decode(latents.to(dtype))
    assert pictures.dtype == dtype and all(part.dtype == torch.float32 for pair in memory.statistics for part in pair)
    true, _ = vae.decode(latents)
    assert (pictures.float() - true).norm() < 0.05 * true.norm()


# --- the encoder -----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_later_pictures_never_change_earlier_latents_with_the_same_statistics(vae):
    pictures = torch.rand(1, 3, 13, 16, 24) * 2 - 1
    changed = pictures.clone()
    changed[:, :, 5:] *= -1
    measured = Stream()
    vae.encoder(pictures, measured)
    fixed = measured.remembered().restarted()
    before, after = (vae.encoder(x, Stream(fixed)) for x in (pictures, changed))
    assert before.shape == (1, 8, 4, 2, 3)
    assert same(before[:, :, :2], after[:, :, :2]) and not torch.allclose(before[:, :, 2], after[:, :, 2], atol=1e-3)


@torch.inference_mode()
def test_a_still_has_the_same_latent_at_any_length(vae):
    picture = torch.rand(1, 3, 1, 16, 24) * 2 - 1
    one, many = (vae.encode(picture.expand(-1, -1, frames, -1, -1)).mean for frames in (1, 9))
    assert one.shape == (1, 4, 1, 2, 3) and torch.allclose(one.expand_as(many), many, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("shape", [(1, 3, 8, 16, 16), (1, 3, 5, 12, 16), (1, 3, 5, 16, 20)])
def test_sizes_that_do_not_come_out_even_are_told(vae, shape):
    for encode in (vae.encode, vae.tiled_encode):
        with pytest.raises(ValueError, match="groups of 4"):
            encode(torch.zeros(shape))


@torch.inference_mode()
def test_a_sample_depends_on_its_seed_alone(vae):
    posterior = vae.encode(torch.rand(1, 3, 5, 16, 16))
    one, same, other = (posterior.sample(torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(posterior.mode(), posterior.mean)
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(5))
    assert torch.allclose((one - posterior.mean) / (posterior.logvar / 2).exp(), noise, atol=1e-4)


@pytest.mark.parametrize("shift", [None, 0.25])
def test_scaling_comes_undone(latents, shift):
    vae = VAE(replace(CONFIG, shift_factor=shift))
    assert torch.allclose(vae.scaled(latents), (latents - (shift or 0)) * 0.476986)
    assert torch.allclose(vae.unscaled(vae.scaled(latents)), latents, atol=1e-6)


# --- tiles -----------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_a_clip_is_cut_as_the_released_program_cuts_it():
    seen = []

    def network(latents: Tensor) -> Tensor:
        seen.append((latents.shape[2], latents.shape[3], latents.shape[4]))
        return torch.zeros(1, 1, 4 * latents.shape[2] - 3, 8 * latents.shape[3], 8 * latents.shape[4])

    pictures = tiled(network, torch.zeros(1, 1, 33, 40, 32), VAEConfig().decode_tiling)
    assert pictures.shape == (1, 1, 129, 320, 256)
    in_space = [(32, 32), (32, 8), (16, 32), (16, 8)]
    assert seen == [(time, *side) for time in (17, 17, 9) for side in in_space]


@torch.inference_mode()
def test_what_fits_into_one_tile_is_decoded_in_one_piece(vae):
    latents = torch.randn(1, 4, 4, 4, 4)
    assert same(vae.tiled_decode(latents), vae.decode(latents)[0])


@torch.inference_mode()
def test_tiles_have_the_clips_size(vae):
    pictures = torch.rand(1, 3, 21, 40, 48)
    posterior = vae.tiled_encode(pictures)
    assert posterior.mean.shape == posterior.logvar.shape == (1, 4, 6, 5, 6)
    assert vae.tiled_decode(posterior.mode()).shape == pictures.shape


def test_tiles_that_agree_leave_no_seam():
    x = torch.randn(1, 2, 21, 13, 18)
    assert torch.allclose(tiled(lambda tile: tile, x, Tiling(8, 8, 8, 8)), x, atol=1e-6)


def test_a_blended_tile_is_the_neighbour_of_the_next():
    """Four tiles of one number each, in a seam of two: a fades into b and c, and what they have become into d."""
    a, b, c, d = numbers = (8.0, 80.0, 800.0, 8000.0)
    left = iter(numbers)
    made = tiled(lambda tile: torch.full_like(tile, next(left)), torch.zeros(1, 1, 1, 12, 12), Tiling(8, 1, 8, 1))[0, 0, 0]
    assert made[5, 5] == a and made[0, 8] == b and made[8, 0] == c and made[8, 8] == d
    assert made[0, 6:8].tolist() == [a, (a + b) / 2] and made[6:8, 0].tolist() == [a, (a + c) / 2]
    assert made[6, 6:9].tolist() == [a, (a + (a + b) / 2) / 2, b]
    assert made[7, 6].item() == (a + c) / 2
    assert made[7, 7].item() == ((a + c) / 2 + ((a + b) / 2 + d) / 2) / 2


def test_tiles_fade_in_time_after_their_leading_frame_is_dropped():
    numbers = iter((8.0, 80.0))
    made = tiled(lambda tile: torch.full_like(tile, next(numbers)), torch.zeros(1, 1, 11, 1, 1), Tiling(1, 8, 1, 8))
    assert made.flatten().tolist() == [8.0] * 7 + [8.0, 44.0, 80.0, 80.0]
