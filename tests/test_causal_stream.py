"""The cached stream computes what the whole sequence computes, and never looks ahead."""

from dataclasses import replace

import pytest
import torch

from model.attention import CachedStream
from model.cache import KVCache
from model.dit import Conditions, DiT, DiTConfig
from model.text import no_text

CONFIG = DiTConfig(
    hidden_size=48, num_heads=2, rope_dim_list=(8, 8, 8), in_channels=4, out_channels=4, depth_double_blocks=2,
    depth_single_blocks=2, refiner_depth=1, text_states_dim=8, text_states_dim_2=8, audio_channels=6,
    audio_intermediate_dim=16, audio_adapter_dim_head=16, frames_per_latent=2, leading_frame=False, causal_window=3,
)  # fmt: skip
FRAMES, ROWS, COLUMNS = 4, 2, 3


@pytest.fixture
def dit():
    torch.manual_seed(1)
    model = DiT(CONFIG).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return model


@pytest.fixture
def scene():
    torch.manual_seed(2)
    text, text_mask = no_text(1, CONFIG.text_states_dim)
    on = Conditions(
        timestep=torch.tensor([[0.0, 0.0, 0.0, 700.0]]),
        motion_exp=30 + 5 * torch.randn(1, FRAMES, 4),
        motion_pose=30 + 5 * torch.randn(1, FRAMES, 4),
        fps=torch.tensor([25.0]),
        text_states=text,
        text_mask=text_mask,
        text_states_2=torch.zeros(1, CONFIG.text_states_dim_2),
        ref_latents=torch.randn(1, 4, 1, 2 * ROWS, 2 * COLUMNS).expand(-1, -1, FRAMES, -1, -1),
        audio_prompts=torch.randn(1, 2 * FRAMES, CONFIG.audio_window, CONFIG.audio_blocks, CONFIG.audio_channels),
        face_mask=torch.rand(1, 1, 1, 2 * ROWS, 2 * COLUMNS),
    )
    return torch.randn(1, 4, FRAMES, 2 * ROWS, 2 * COLUMNS), on


def frame_of(on: Conditions, frame: int) -> Conditions:
    at = slice(frame, frame + 1)
    return replace(
        on, timestep=on.timestep[:, at], motion_exp=on.motion_exp[:, at], motion_pose=on.motion_pose[:, at],
        ref_latents=on.ref_latents[:, :, :1],
    )  # fmt: skip


@torch.inference_mode()
def test_streaming_with_a_cache_equals_the_whole_sequence(dit, scene):
    x, on = scene
    whole, _ = dit(x, on)

    tokens, window = ROWS * COLUMNS, CONFIG.causal_window
    cache = KVCache.empty(CONFIG.layers, 1, tokens + 1, tokens, window, CONFIG.num_heads, CONFIG.head_width)
    dit.prefill(on, cache)
    sound, mask = dit.audio_tokens(on.audio_prompts), dit.token_mask(on.face_mask, x[:, :, :1])
    made = []
    for frame in range(FRAMES):
        rope = dit.rope(torch.tensor([frame]), ROWS, COLUMNS, x.device)
        # Frame k of a fresh stream stands at place k: the window's first k places are filled, the others still empty.
        seen = torch.zeros(1, 1, tokens, cache.sink_tokens + window * tokens + tokens, dtype=torch.bool)
        seen[..., : cache.sink_tokens + frame * tokens] = True
        seen[..., -tokens:] = True
        pattern = CachedStream(cache, *rope, seen)
        part = slice(frame, frame + 1)
        made.append(dit.stream(x[:, :, part], frame_of(on, frame), sound[:, :, part], mask, pattern))
        if frame < window:
            keep(dit, cache, x, on, sound, mask, frame, rope)
    assert torch.allclose(torch.cat(made, 2), whole, atol=2e-4)


def keep(dit, cache, x, on, sound, mask, frame, rope):
    """Write a clean frame into place `frame` by rolling a scratch copy of the window."""
    tokens = cache.frame_tokens
    scratch = cache.clone()
    seen = torch.zeros(1, 1, tokens, cache.sink_tokens + (cache.window - 1) * tokens + tokens, dtype=torch.bool)
    seen[..., : cache.sink_tokens + frame * tokens] = True
    seen[..., -tokens:] = True
    part = slice(frame, frame + 1)
    dit.stream(x[:, :, part], frame_of(on, frame), sound[:, :, part], mask, CachedStream(scratch, *rope, seen, remember=1))
    place, last = slice(frame * tokens, (frame + 1) * tokens), slice((cache.window - 1) * tokens, None)
    shift = cache.sink_tokens
    cache.keys[:, :, place] = scratch.keys[:, :, last]
    for name in ("context_keys", "context_values"):
        source = getattr(scratch, name)[:, :, shift:][:, :, last]
        getattr(cache, name)[:, :, shift:][:, :, place] = source


@torch.inference_mode()
def test_a_later_frame_never_changes_an_earlier_one(dit, scene):
    x, on = scene
    before, _ = dit(x, on)
    sound = on.audio_prompts.clone()
    sound[:, -2:] += 1
    changed = x.clone()
    changed[:, :, -1] += 1
    after, _ = dit(changed, replace(on, audio_prompts=sound))
    assert torch.equal(before[:, :, :-1], after[:, :, :-1])
    assert not torch.allclose(before[:, :, -1], after[:, :, -1])


@torch.inference_mode()
def test_frames_before_the_window_are_forgotten(dit, scene):
    x, on = scene
    # A layer reaches one window back, so two layers of one frame each reach two frames back and no further.
    single = DiT(replace(CONFIG, causal_window=1, depth_double_blocks=1, depth_single_blocks=1)).eval()
    changed = x.clone()
    changed[:, :, 0] += 1
    before, _ = single(x, on)
    after, _ = single(changed, on)
    assert torch.equal(before[:, :, 3], after[:, :, 3])
    assert not torch.allclose(before[:, :, 1], after[:, :, 1])


def test_rolled_window_keeps_its_newest_frames():
    cache = KVCache.empty(1, 1, 1, 2, 3, 1, 4)
    cache.keys[:] = torch.arange(6).view(1, 1, 6, 1, 1).float()
    cache.roll()
    assert cache.keys[0, 0, :4, 0, 0].tolist() == [2, 3, 4, 5]


def test_joined_caches_come_apart_again():
    parts = [KVCache.empty(1, 1, 1, 2, 3, 1, 4) for _ in range(2)]
    parts[1].keys += 1
    joined = KVCache.join(parts)
    assert torch.equal(joined.select(1).keys, parts[1].keys) and torch.equal(joined.select(0).keys, parts[0].keys)
