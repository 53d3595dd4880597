"""The released sampling loop: its tables, its windows, and a whole clip from a tiny transformer."""

from dataclasses import replace

import pytest
import torch

from model.dit import DiT, DiTConfig, StepCache
from model.offline import (
    Clip,
    KeptTokens,
    Prompt,
    SamplingConfig,
    clip_noise,
    conditions,
    guidance,
    is_cached,
    latent_frames,
    plan,
    sample,
    sound_frames,
    windows,
)
from model.sampler import shifted_sigmas

RELEASED = SamplingConfig()
# Three latent frames to a window, and just enough steps for two that are cached, 16 and 17.
SMALL = SamplingConfig(steps=18, window=3)
ONE_WINDOW, TWO_WINDOWS = 10, 15  # video frames


# --- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "video_frames, made, kept", [(129, 33, 33), (131, 33, 33), (135, 65, 34), (256, 97, 65), (405, 129, 102)]
)
def test_clips_are_rounded_up_to_whole_windows(video_frames, made, kept):
    assert latent_frames(video_frames, RELEASED) == (made, kept)


def test_windows_before_the_first_shift():
    first, second, third = list(range(33)), list(range(33, 66)), list(range(66, 99))
    assert windows(33, 0, RELEASED) == [first]
    assert windows(65, 0, RELEASED) == [first, [*second[:-1], 0]]
    assert windows(97, 0, RELEASED) == [first, second, [*third[:-2], 0, 1]]
    assert windows(129, 0, RELEASED) == [first, second, third, [*range(99, 129), 0, 1, 2]]


def test_windows_move_back_around_the_ring():
    assert windows(65, 10, RELEASED) == [[*range(55, 65), *range(23)], list(range(23, 56))]
    assert [step.shift for step in plan(RELEASED)][:8] == [0, 10, 20, 30, 7, 17, 27, 4]


def test_a_single_window_stays_where_it_is():
    assert windows(33, 10, RELEASED) == [list(range(33))]


@pytest.mark.parametrize("frames, seam", [(65, 1), (97, 2), (129, 3)])
def test_every_frame_is_visited_and_only_the_seam_twice(frames, seam):
    for step in plan(RELEASED):
        visits = [frame for window in windows(frames, step.shift, RELEASED) for frame in window]
        assert set(visits) == set(range(frames)) and len(visits) == frames + seam


def test_sound_goes_around_with_the_window():
    window = windows(65, 10, RELEASED)[0]
    assert sound_frames(window, 65, RELEASED) == [*range(220, 260), *range(89)]


def test_guidance_falls_in_two_phases():
    values = [guidance(i, RELEASED) for i in range(50)]
    assert [round(values[i], 4) for i in (0, 1, 9, 10, 11, 49)] == [7.5, 7.39, 6.51, 5.9, 5.84, 3.56]


def test_late_guidance_follows_the_scale_only_when_told():
    def late(scale: float, ignores: bool) -> float:
        return guidance(30, replace(RELEASED, guidance_scale=scale, late_guidance_ignores_scale=ignores))

    assert late(3.75, True) == late(7.5, True) == late(7.5, False) == pytest.approx(4.7)
    assert late(3.75, False) == pytest.approx(2.35)


def test_cached_steps_are_the_released_ones():
    full = [i for i, step in enumerate(plan(RELEASED)) if not step.cached]
    assert full == [*range(15), 15, 20, 25, 30, 35, 40, *range(41, 50)]


def test_caching_can_be_switched_off():
    assert not any(step.cached or step.feeds_cache for step in plan(replace(RELEASED, deepcache=False)))


def test_phases_keep_the_step_numbers_of_fifty_unless_told():
    for steps in (30, 60):
        by_number = plan(replace(RELEASED, steps=steps))
        assert sum(step.negative_prompt for step in by_number) == 10
        assert all(step.cached == plan(RELEASED)[i].cached for i, step in enumerate(by_number[:50]))
        assert all(step.cached for step in by_number[50:])


def test_phases_can_be_shares_of_the_steps():
    for steps in (20, 30, 100):
        by_share = plan(replace(RELEASED, steps=steps, phases_of_fifty_steps=False))
        assert sum(step.negative_prompt for step in by_share) == steps // 5
        assert 0.2 * steps < sum(step.cached for step in by_share) <= 0.45 * steps
        assert not by_share[0].cached and not by_share[-1].cached
    assert plan(replace(RELEASED, phases_of_fifty_steps=False)) == plan(RELEASED)


def test_a_single_step_is_a_full_one():
    assert not is_cached(0, SamplingConfig(steps=1, phases_of_fifty_steps=False))


# --- two rows, kept tokens -------------------------------------------------------------------------------------------


def test_the_unconditional_row_has_the_negative_prompt_early_and_never_sound():
    clip, (early, *_, late) = tiny_clip(ONE_WINDOW), plan(SMALL)
    sound = clip.audio_prompts[:, :9]
    for step, text, scale in ((early, clip.negative, 0.6), (late, clip.prompt, 1.0)):
        on = conditions(clip, sound, step)
        assert torch.equal(on.text_states, torch.cat((text.states, clip.prompt.states)))
        assert torch.equal(on.text_mask, torch.cat((text.mask, clip.prompt.mask)))
        assert torch.equal(on.text_states_2, torch.cat((text.pooled, clip.prompt.pooled)))
        assert not on.audio_prompts[0].any() and torch.equal(on.audio_prompts[1:], sound)
        assert torch.equal(on.face_mask, scale * torch.cat((clip.face_mask, clip.face_mask)))
        assert torch.equal(on.ref_latents[0], on.ref_latents[1])


def test_kept_tokens_are_found_again_by_latent_frame():
    """Two windows of three over five frames share frame 0. A token here is the number of its frame and of its window."""
    ring = windows(5, 0, SMALL)
    assert ring == [[0, 1, 2], [3, 4, 0]]

    def tokens(window: int) -> StepCache:
        numbers = torch.tensor([-10 * (window + 1), *(10 * frame + window for frame in ring[window])])
        return StepCache(numbers.view(1, 4, 1, 1), torch.full((1, 2, 1), float(window)))

    read = KeptTokens(ring, [tokens(0), tokens(1)]).read([2, 3, 4])
    assert read.image.flatten().tolist() == [-10, 20, 31, 41] and read.text.flatten().tolist() == [0, 0]
    read = KeptTokens(ring, [tokens(0), tokens(1)]).read([0, 1, 2])
    assert read.image.flatten().tolist() == [-20, 1, 10, 20] and read.text.flatten().tolist() == [1, 1]


# --- whole clips -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("video_frames, kept", [(ONE_WINDOW, 3), (TWO_WINDOWS, 4)])
@pytest.mark.parametrize("deepcache", [True, False])
def test_a_transformer_makes_a_clip(dit, video_frames, kept, deepcache):
    clip, config = tiny_clip(video_frames), replace(SMALL, deepcache=deepcache)
    reused = []

    def watched(x, on, cached):
        reused.append(cached is not None)
        return dit(x, on, cached)

    latents = sample(watched, clip, clip_noise(clip, 7, config), config)
    assert latents.shape == (1, 4, kept, 4, 6) and torch.isfinite(latents).all()
    assert len(reused) == len(windows(*latent_frames(video_frames, config), config)) * config.steps
    assert sum(reused) == deepcache * len(reused) // 9


def test_the_same_seed_gives_the_same_clip_and_another_seed_another(dit):
    clip = tiny_clip(ONE_WINDOW)
    first, again, other = (sample(dit, clip, clip_noise(clip, seed, SMALL), SMALL) for seed in (7, 7, 8))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_without_caching_one_window_is_a_plain_loop_of_forwards(dit):
    config = replace(SMALL, deepcache=False, bfloat16_steps=False)
    clip, sigmas = tiny_clip(ONE_WINDOW), shifted_sigmas(18, 5.0)
    noise = clip_noise(clip, 7, config)
    x, sound = noise, clip.audio_prompts[:, :9]
    with torch.inference_mode():
        for i, step in enumerate(plan(config)):
            on = conditions(clip, sound, step)
            unconditional, conditional = dit(torch.cat((x, x)), on)[0]
            scale = (1 - i / 18) * 5.5 + 2 if i < 10 else (1 - i / 18) * 3 + 3.5
            x = x + (unconditional + scale * (conditional - unconditional)) * (sigmas[i + 1] - sigmas[i])
    assert torch.allclose(sample(dit, clip, noise, config), x, atol=1e-5)


def test_sound_and_caching_change_the_clip(dit):
    clip = tiny_clip(ONE_WINDOW)
    noise = clip_noise(clip, 7, SMALL)
    made = sample(dit, clip, noise, SMALL)
    other = replace(clip, audio_prompts=clip.audio_prompts.flip(1))
    assert not torch.allclose(made, sample(dit, other, noise, SMALL), atol=1e-3)
    assert not torch.allclose(made, sample(dit, clip, noise, replace(SMALL, deepcache=False)), atol=1e-3)


def test_clips_in_a_batch_get_what_they_would_get_alone(dit):
    clips = [tiny_clip(ONE_WINDOW, seed) for seed in (1, 2)]
    noise = [clip_noise(clip, seed, SMALL) for seed, clip in enumerate(clips)]
    config = replace(SMALL, bfloat16_steps=False)  # a rounding that turns over would hide the question
    together = sample(dit, joined(clips), torch.cat(noise), config)
    for row, (clip, start) in enumerate(zip(clips, noise, strict=True)):
        assert torch.allclose(together[row : row + 1], sample(dit, clip, start, config), atol=1e-4)


def test_latents_are_rounded_to_bfloat16_and_keep_the_type_of_the_noise(dit):
    clip = tiny_clip(ONE_WINDOW)
    noise = clip_noise(clip, 7, SMALL)
    made = sample(dit, clip, noise, SMALL)
    assert made.dtype == torch.float32 and torch.equal(made, made.bfloat16().float())
    for rounded in (True, False):
        assert sample(dit, clip, noise.half(), replace(SMALL, bfloat16_steps=rounded)).dtype == torch.float16


def test_the_network_is_called_in_the_type_of_the_clip():
    clip = tiny_clip(ONE_WINDOW)
    clip = replace(clip, ref_latents=clip.ref_latents.bfloat16(), audio_prompts=clip.audio_prompts.bfloat16())
    clip = replace(clip, prompt=in_bfloat16(clip.prompt), negative=in_bfloat16(clip.negative))
    made = sample(tiny_dit().bfloat16(), clip, clip_noise(clip, 7, SMALL), SMALL)
    assert made.dtype == torch.float32 and torch.isfinite(made).all()


def test_sizes_that_do_not_fit_are_told(dit):
    clip = tiny_clip(TWO_WINDOWS)
    with pytest.raises(ValueError, match="noise for 5 latent frames, got 3"):
        sample(dit, clip, torch.zeros(1, 4, 3, 4, 6), SMALL)
    with pytest.raises(ValueError, match="a window of 33, got 3"):
        sample(dit, clip, torch.zeros(1, 4, 33, 4, 6))


def tiny_clip(video_frames: int, seed: int = 1) -> Clip:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    prompt, negative = (Prompt(random(1, 5, 4), torch.tensor([[1] * n + [0] * (5 - n)]), random(1, 4)) for n in (5, 3))
    return Clip(
        ref_latents=random(1, 4, 1, 4, 6).expand(-1, -1, SMALL.window, -1, -1),
        audio_prompts=random(1, video_frames, 2, 3, 8),
        face_mask=torch.tensor([0.0, 1, 1, 1, 0, 0]).expand(1, 1, 1, 4, 6),
        prompt=prompt,
        negative=negative,
        motion_exp=torch.full((1, 4), 30),
        motion_pose=torch.full((1, 4), 25),
        fps=torch.tensor([25.0]),
    )


def joined(clips: list[Clip]) -> Clip:
    def join(parts: list) -> torch.Tensor | Prompt:
        if isinstance(parts[0], Prompt):
            return Prompt(*(torch.cat([getattr(p, name) for p in parts]) for name in ("states", "mask", "pooled")))
        return None if parts[0] is None else torch.cat(parts)

    return Clip(**{name: join([getattr(clip, name) for clip in clips]) for name in Clip.__dataclass_fields__})


def in_bfloat16(prompt: Prompt) -> Prompt:
    return Prompt(prompt.states.bfloat16(), prompt.mask, prompt.pooled.bfloat16())


def tiny_dit() -> DiT:
    torch.manual_seed(3)
    dit = DiT(
        DiTConfig(
            hidden_size=24, num_heads=2, rope_dim_list=(4, 4, 4), in_channels=4, out_channels=4, depth_double_blocks=2,
            depth_single_blocks=2, refiner_depth=1, text_states_dim=4, text_states_dim_2=4, audio_window=2,
            audio_blocks=3, audio_channels=8, audio_intermediate_dim=8, audio_adapter_dim_head=8,
        )
    ).eval()  # fmt: skip
    for weight in dit.parameters():
        torch.nn.init.normal_(weight, std=0.15)
    return dit


@pytest.fixture(scope="module")
def dit() -> DiT:
    return tiny_dit()
