"""Windows of bidirectional weights make one stream: they meet, they hear in step, and states are values."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from model.audio import windows_of
from model.presets import HUNYUAN_AVATAR, HUNYUAN_AVATAR_CAUSAL, Window
from model.sampler import shifted_sigmas
from model.seams import seams
from model.windowed import continued
from tests.tiny_full_size import CAUSAL, SIDE, WINDOWED, tiny_live


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def windowed(folder):
    return tiny_live(WINDOWED, folder)


def sound(live, seed: int, chunks: int) -> np.ndarray:
    """Windows of a noisy recording, chunks window_samples."""
    pcm = 0.1 * np.random.default_rng(seed).standard_normal(chunks * live.preset.audio.chunk_samples)
    return windows_of(torch.from_numpy(pcm.astype(np.float32))[None], live.preset.audio)[0].numpy()


def film(live, windows, seed=5, character="me", **options):
    state, frames = live.open(character, seed), []
    for window in windows:
        made, (state,) = live.step([state], [window[None]], **options)
        frames.append(made[0])
    return np.concatenate(frames), state


# --- seams -------------------------------------------------------------------------------------------------------------

NEW, WINDOW, PHASES, PERIOD, PLACES = 4, 9, 6, 24.0, 16


def waves(first: int) -> Tensor:
    """Every clean clip that there is, p c t h w: a pattern that comes round, begun at any of its phases."""
    time = torch.arange(first, first + WINDOW)[None, :] + torch.arange(PHASES)[:, None] * PERIOD / PHASES
    places = torch.linspace(0, 6, 2 * PLACES**2).reshape(2, 1, PLACES, PLACES)
    angle = 2 * torch.pi * time / PERIOD
    return (angle[:, None, :, None, None] + places).sin()


def oracle(x: Tensor, sigma: float) -> Tensor:
    """The true velocity E[noise - clip | x] where every wave is as likely as another: from the noisy window alone it finds
    out which one it is in."""
    clips = waves(0)
    distance = (x - (1 - sigma) * clips).square().flatten(1).sum(1)
    weights = (-distance / (2 * sigma**2)).softmax(0)
    return (x - torch.einsum("p,pcthw->cthw", weights, clips)) / sigma


@pytest.mark.parametrize("steps", [2, 4, 8])
def test_with_a_true_denoiser_of_smooth_clips_seams_are_like_any_other_step(steps):
    film = chained(oracle, steps)
    measured = seams(film, NEW)
    assert measured.ratio < 1.01 and measured.largest_ratio < 1.05
    assert (film.diff(dim=0).flatten(1).norm(dim=1) > 0.1).all()  # nothing stands still


def test_a_past_that_is_not_held_at_the_noise_level_leaves_seams():
    def forgetful(x: Tensor, sigma: float) -> Tensor:
        past = torch.randn(x[:, :, : WINDOW - NEW].shape, generator=torch.Generator().manual_seed(1))
        return oracle(torch.cat((past, x[:, :, WINDOW - NEW :]), 2), sigma)

    assert seams(chained(forgetful, 4), NEW).ratio > 2


def chained(velocity, steps: int, windows: int = 6) -> Tensor:
    """Latents t c h w of some windows, each from the end of the one before."""
    past = waves(0)[3:4, :, : WINDOW - NEW]
    made, random = [], torch.Generator().manual_seed(2)
    for _ in range(windows):
        noise = torch.randn(1, 2, WINDOW, PLACES, PLACES, generator=random)
        new = continued(velocity, past, noise, shifted_sigmas(steps, 5.0).tolist())
        made.append(new)
        past = torch.cat((past, new), 2)[:, :, NEW:]
    return torch.cat(made, 2)[0].transpose(0, 1)


def test_seams_are_told_from_the_steps_inside_of_chunks():
    frames = torch.tensor([0.0, 1.0, 2.0, 5.0, 6.0, 7.0, 9.0, 10.0, 11.0])[:, None, None].expand(-1, 2, 3)
    found = seams(frames, 3)
    assert found.at_seams.tolist() == [3.0, 2.0] and found.inside.tolist() == [1.0] * 6
    assert found.ratio == 2.5 and found.largest_ratio == 3.0
    for chunk in (1, 2, 9):
        with pytest.raises(ValueError, match="whole chunks"):
            seams(frames, chunk)


def test_the_past_is_shown_at_every_noise_level_and_never_moved():
    past, noise = torch.randn(1, 2, 5, 3, 3), torch.randn(1, 2, 9, 3, 3)
    seen = []

    def velocity(x: Tensor, sigma: float) -> Tensor:
        seen.append((sigma, x[:, :, :5]))
        return torch.ones_like(x)

    sigmas = shifted_sigmas(3, 5.0).tolist()
    new = continued(velocity, past, noise, sigmas)
    assert [sigma for sigma, _ in seen] == sigmas[:-1]
    for sigma, shown in seen:
        assert torch.allclose(shown, (1 - sigma) * past + sigma * noise[:, :, :5])
    assert torch.allclose(new, noise[:, :, 5:] - 1, atol=1e-6)


# --- the stream --------------------------------------------------------------------------------------------------------


def test_a_chunk_is_the_new_latents_of_a_window(windowed):
    frames, state = film(windowed, sound(windowed, 1, 3))
    assert frames.shape == (3 * 2 * 4, SIDE, SIDE, 3) and frames.dtype == np.uint8 and frames.std() > 1
    assert state.chunk_index == 3 and state.latents.shape == (1, 4, 3, 4, 4) and state.prompts.shape[2] == 9


def test_the_same_seed_gives_the_same_film_and_another_seed_another(windowed):
    windows = sound(windowed, 1, 3)
    assert np.array_equal(film(windowed, windows)[0], film(windowed, windows)[0])
    assert not np.array_equal(film(windowed, windows)[0], film(windowed, windows, seed=6)[0])


def test_later_sound_never_changes_earlier_frames(windowed):
    windows, other = sound(windowed, 1, 4), sound(windowed, 2, 4)
    mixed = np.concatenate((windows[:2], other[2:]))
    first, second = film(windowed, windows)[0], film(windowed, mixed)[0]
    assert np.array_equal(first[:16], second[:16]) and not np.array_equal(first[16:], second[16:])


def test_a_state_can_be_gone_on_from_twice(windowed):
    windows = sound(windowed, 1, 3)
    _, state = film(windowed, windows[:2])
    once, again = (windowed.step([state], [windows[2][None]])[0] for _ in range(2))
    assert np.array_equal(once, again)


def test_what_a_window_shows_is_what_the_windows_before_have_made_and_heard(windowed, monkeypatch):
    """Its past latents are their newest ones, and each picture keeps the sound with which it was made."""
    asked: list = []
    forward = windowed.dit.forward

    def listening(x, on, cached=None):
        asked.append((x, on))
        return forward(x, on, cached)

    monkeypatch.setattr(windowed.dit, "forward", listening)
    monkeypatch.setattr(windowed, "_noise_like", lambda like, state: torch.zeros_like(like))  # so that the past is bare
    windows = sound(windowed, 1, 4)
    three, four = (film(windowed, windows[:chunks], steps=1)[1] for chunks in (3, 4))
    assert torch.equal(four.latents[:, :, :1], three.latents[:, :, 2:])
    asked = asked[-4:]
    prompts = [on.audio_prompts for _, on in asked]
    for before, after in zip(prompts, prompts[1:], strict=False):
        assert after.shape[2] == 17 and torch.equal(after[:, :, :9], before[:, :, 8:])
    assert not torch.equal(prompts[1][:, :, 9:], prompts[0][:, :, 9:])
    timesteps = {on.timestep.item() for _, on in asked}
    assert timesteps == {1000.0}


def test_a_window_hears_its_new_pictures_as_a_recording_is_heard(windowed):
    """Frame by frame, whatever the chunk: the prompts of a window are those of any other cut of the same sound."""
    config = windowed.preset.audio
    once = replace(config, chunk_samples=config.samples_per_frame)
    pcm = torch.randn(1, 4 * config.chunk_samples) * 0.1
    windows, shifted = windows_of(pcm, config)[0], windows_of(pcm, once)[0]
    made = windowed.audio.prompts(windows[1:2])[0]
    assert made.shape[0] == 8
    windowed.audio.config, back = once, config
    try:
        single = windowed.audio.prompts(shifted[15:16])[0]
    finally:
        windowed.audio.config = back
    assert torch.allclose(made[-1], single[0], atol=1e-5)


def test_sessions_in_a_batch_get_what_they_would_get_alone(windowed):
    sounds = [sound(windowed, seed, 2) for seed in (1, 2)]
    alone = [film(windowed, windows, seed)[0] for seed, windows in enumerate(sounds)]
    states = [windowed.open("me", seed) for seed in range(2)]
    together = []
    for chunk in range(2):
        frames, states = windowed.step(states, [windows[chunk][None] for windows in sounds])
        together.append(frames)
    difference = np.stack(alone).astype(int) - np.concatenate(together, 1)
    assert np.abs(difference).max() <= 1  # rounding of a wider matrix product


def test_faces_hear_their_own_sound(windowed):
    first, second, other = (sound(windowed, seed, 2) for seed in (1, 2, 3))

    def heard(*voices):
        state, frames = windowed.open("duo", 4), []
        for windows in zip(*voices, strict=True):
            made, (state,) = windowed.step([state], [np.stack(windows)])
            frames.append(made[0])
        return np.concatenate(frames)

    plain = heard(first, second)
    assert not np.array_equal(plain, heard(other, second)) and not np.array_equal(plain, heard(first, other))
    assert not np.array_equal(plain, heard(second, first))


def test_guidance_takes_the_prediction_further_from_silence(folder, windowed):
    windows = sound(windowed, 1, 1)
    guided = tiny_live(replace(WINDOWED, window=replace(WINDOWED.window, guidance=3.0)), folder)
    once = tiny_live(replace(WINDOWED, window=replace(WINDOWED.window, guidance=1.0)), folder)
    plain = film(windowed, windows, steps=1)[1].latents[:, :, -2:]
    assert torch.equal(plain, film(once, windows, steps=1)[1].latents[:, :, -2:])
    silent = silenced(windowed, windows)
    assert torch.allclose(film(guided, windows, steps=1)[1].latents[:, :, -2:], silent + 3 * (plain - silent), atol=1e-4)


def silenced(live, windows) -> Tensor:
    """The chunk's latents where nothing at all is heard, in the past neither."""
    state = live.open("me", 5)
    state = replace(state, prompts=torch.zeros_like(state.prompts))
    original = live.audio.prompts
    live.audio.prompts = lambda windows: torch.zeros_like(original(windows))
    try:
        _, (after,) = live.step([state], [windows[0][None]], steps=1)
    finally:
        del live.audio.prompts
    return after.latents[:, :, -2:]


# --- both kinds of weights, both decoders ------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", [WINDOWED, CAUSAL])
@pytest.mark.parametrize("decoder", ["taehv", "vae"])
def test_either_decoder_carries_its_state_across_chunks(folder, preset, decoder):
    """Decoded chunk by chunk, the latents of a stream give what they give in one piece."""
    live = tiny_live(preset, folder, decoder)
    state, latents, pictures, made = live.open("me", 5), [], [], live.decoder.decode

    def decode(chunk, memories):
        latents.append(chunk)
        frames, after = made(chunk, memories)
        pictures.append(frames.clone())  # they become bytes in place
        return frames, after

    live.decoder.decode = decode
    start = state.memory
    for window in sound(live, 1, 3):
        _, (state,) = live.step([state], [window[None]])
    with torch.inference_mode():
        whole, _ = made(torch.cat(latents, 2), [start])
    assert whole.shape[1] == 4 * sum(chunk.shape[2] for chunk in latents)
    assert torch.allclose(torch.cat(pictures, 1), whole, atol=1e-4)


@pytest.mark.parametrize("preset", [WINDOWED, CAUSAL])
def test_text_that_takes_no_part_changes_nothing(folder, preset):
    """Of the prompt's tokens those behind the valid ones are another segment; the picture does not know of them."""
    live = tiny_live(preset, folder)
    windows = sound(live, 1, 2)
    plain = film(live, windows)[0]
    character = live.characters["me"]
    look = live.look(character)
    assert look.words == 5
    states = look.prompt.states.clone()
    states[:, look.words :] += 5
    live.look = lambda one: replace(look, prompt=replace(look.prompt, states=states))
    live.forget("me")
    live.characters["me"] = character
    assert np.array_equal(plain, film(live, windows)[0])
    states[:, 0] += 5
    live.forget("me")
    live.characters["me"] = character
    assert not np.array_equal(plain, film(live, windows)[0])


def test_a_window_is_the_released_forward_pass(folder, windowed, monkeypatch):
    """Counted text on the host, or masked as released: the same prediction."""
    asked = []
    forward = windowed.dit.forward

    def both(x, on, cached=None):
        with_mask, _ = forward(x, replace(on, words=None))
        made, kept = forward(x, on, cached)
        asked.append((with_mask - made).abs().max().item())
        return made, kept

    monkeypatch.setattr(windowed.dit, "forward", both)
    film(windowed, sound(windowed, 1, 2))
    assert asked and max(asked) < 1e-5


def test_the_full_size_presets_are_what_they_say():
    for preset, chunk_s, latents in ((HUNYUAN_AVATAR, 0.64, 4), (HUNYUAN_AVATAR_CAUSAL, 0.16, 1)):
        assert preset.audio.frames_per_chunk / preset.fps == chunk_s
        assert preset.latent_size == (88, 88) and preset.audio.frames_per_chunk == 4 * latents
        assert preset.audio.first_position >= preset.audio.prompt_lead


@pytest.mark.parametrize("sizes", [{"latents": 4, "new": 4}, {"latents": 4, "new": 0}])
def test_a_window_without_past_or_without_anything_new_is_refused(sizes):
    with pytest.raises(ValueError, match="must hold new ones and past ones"):
        Window(**sizes)
