"""The streaming generator: chunk by chunk is one long stream, sessions do not mix, and age does not matter."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.audio import windows_of
from model.motion import MOTION_CENTRE
from tests.tiny import TINY, tiny_generator


@pytest.fixture(scope="module")
def generator():
    return tiny_generator()


def sound(seed: int, chunks: int) -> np.ndarray:
    """Windows of a noisy recording, chunks window_samples."""
    pcm = 0.1 * np.random.default_rng(seed).standard_normal(chunks * TINY.audio.chunk_samples)
    return windows_of(torch.from_numpy(pcm.astype(np.float32))[None], TINY.audio)[0].numpy()


def run(generator, windows, seed=5, chunk_index=0, character="ada", steps=None):
    state, frames = generator.open(character, seed, chunk_index), []
    for window in windows:
        made, (state,) = generator.step([state], [window[None]], steps=steps)
        frames.append(made[0])
    return np.concatenate(frames), state


def test_a_chunk_is_frames_of_the_preset_size(generator):
    frames, _ = run(generator, sound(1, 3))
    assert frames.shape == (6, TINY.height, TINY.width, 3) and frames.dtype == np.uint8


def test_the_same_seed_gives_the_same_film_and_another_seed_another(generator):
    windows = sound(1, 4)
    assert np.array_equal(run(generator, windows)[0], run(generator, windows)[0])
    assert not np.array_equal(run(generator, windows)[0], run(generator, windows, seed=6)[0])


def test_later_sound_never_changes_earlier_frames(generator):
    windows, other = sound(1, 6), sound(2, 6)
    mixed = np.concatenate((windows[:3], other[3:]))
    first, second = run(generator, windows)[0], run(generator, mixed)[0]
    assert np.array_equal(first[:6], second[:6])
    assert not np.array_equal(first[6:], second[6:])


@torch.inference_mode()
def test_a_stream_of_one_step_is_the_causal_pass_over_the_whole_of_it():
    generator, chunks, rest = tiny_generator(), 5, TINY.dit.causal_window + 1
    generator.preset = replace(TINY, steps=1)
    for weight in generator.dit.parameters():
        weight.mul_(0.5)  # less steep, or rounding would grow too large to compare
    windows = torch.from_numpy(sound(1, chunks))
    state, made = generator.open("ada", 5), []
    at = [replace(state, chunk_index=chunk) for chunk in range(chunks)]
    for window in windows:
        heard = [generator.audio.prompts(window[None])[None, 0]]
        latents, (state,) = generator._denoise([state], heard, [[("neutral", 0.0)]], 1)
        state = replace(state, chunk_index=state.chunk_index + 1)
        made.append(latents)

    look = state.look
    still, silence = look.reference.expand(-1, -1, rest, -1, -1), torch.zeros(1, TINY.audio.window_samples)
    noise = [generator._noise_like(still, replace(state, seed=0, chunk_index=0))]
    noise += [generator._noise_like(look.reference, moment) for moment in at]
    moved = zip(*(generator._motion([moment]) for moment in at), strict=True)
    moved = [torch.cat((torch.full((1, rest, 4), MOTION_CENTRE), *part), 1) for part in moved]
    on = generator._conditions([look], *moved, (1.0,) * (rest + chunks))
    prompts = torch.cat((generator.audio.prompts(silence).repeat(rest, 1, 1, 1, 1), generator.audio.prompts(windows)))
    on = replace(on, audio_prompts=prompts.flatten(0, 1)[None, None], face_mask=look.mask)
    change, _ = generator.dit(torch.cat(noise, 2), on)
    whole = look.reference + change[:, :, rest:]
    assert torch.allclose(torch.cat(made, 2), whole, atol=1e-4)
    assert (made[0] - made[-1]).abs().mean() > 0.01


def test_sessions_in_a_batch_get_what_they_would_get_alone(generator):
    sounds, seeds, who = (sound(1, 4), sound(2, 4), sound(3, 4)), (1, 2, 3), ("ada", "bo", "ada")
    alone = [run(generator, w, seed, character=name)[0] for w, seed, name in zip(sounds, seeds, who, strict=True)]
    states = [generator.open(name, seed) for seed, name in zip(seeds, who, strict=True)]
    together = []
    for chunk in range(4):
        frames, states = generator.step(states, [w[chunk][None] for w in sounds])
        together.append(frames)
    together = np.concatenate(together, 1)
    for mine, theirs in zip(alone, together, strict=True):
        assert np.abs(mine.astype(int) - theirs.astype(int)).max() <= 1  # rounding of a wider matrix product


def test_sessions_may_join_and_leave_a_batch(generator):
    windows = sound(1, 4)
    alone = run(generator, windows, seed=1)[0]
    state, frames = generator.open("ada", 1), []
    for chunk, window in enumerate(windows):
        states, batch = [state], [window[None]]
        if chunk in (1, 2):
            states, batch = [generator.open("bo", 9), state], [window[None], window[None]]
        made, after = generator.step(states, batch)
        state = after[-1]
        frames.append(made[-1])
    assert np.abs(np.concatenate(frames).astype(int) - alone.astype(int)).max() <= 1


def test_a_day_old_stream_costs_and_holds_what_a_new_one_does(generator):
    windows = sound(1, 5)
    sizes = []
    for start in (10, 10**6):
        frames, state = run(generator, windows, chunk_index=start)
        tensors = (state.cache.keys, state.cache.context_keys, state.cache.context_values, *state.memory.layers)
        sizes.append([t.shape for t in tensors])
        assert state.chunk_index == start + 5 and frames.std() > 0
        assert all(torch.isfinite(t).all() for t in tensors)
    assert sizes[0] == sizes[1]


def test_positions_do_not_depend_on_age(generator, monkeypatch):
    """With the same noise and the same motion, frame 10 and frame a million come out alike, bit for bit."""
    still = generator.motion_strength
    monkeypatch.setattr(generator, "_noise_like", lambda latents, state: torch.zeros_like(latents))
    monkeypatch.setattr(generator, "_motion", lambda states: (torch.full((len(states), 1, 4), 30.0),) * 2)
    young, old = (run(generator, sound(1, 5), chunk_index=start)[0] for start in (10, 10**6))
    assert np.array_equal(young, old) and still == generator.motion_strength


def test_fewer_steps_are_a_valid_stream_too(generator):
    frames, _ = run(generator, sound(1, 3), steps=1)
    assert frames.shape[0] == 6


def test_opening_is_cheap_after_the_first_time_and_shares_nothing(generator):
    first, second = generator.open("ada", 1), generator.open("ada", 1)
    assert first.cache.keys.data_ptr() != second.cache.keys.data_ptr()
    assert torch.equal(first.cache.keys, second.cache.keys)


def test_an_unknown_character_is_an_error(generator):
    with pytest.raises(KeyError):
        generator.open("nobody", 1)


def test_people_in_one_picture_hear_their_own_sound(generator):
    first, second, other = sound(1, 3), sound(2, 3), sound(3, 3)

    def film(*heard):
        state, frames = generator.open("duo", 4), []
        for windows in zip(*heard, strict=True):
            made, (state,) = generator.step([state], [np.stack(windows)])
            frames.append(made[0])
        return np.concatenate(frames)

    plain = film(first, second)
    assert not np.array_equal(plain, film(other, second)) and not np.array_equal(plain, film(first, other))
    assert not np.array_equal(plain, film(second, first))


def test_a_session_of_two_faces_and_one_of_one_share_a_batch(generator):
    one, two = sound(1, 3), np.stack((sound(2, 3), sound(3, 3)), 1)

    def film(names, sounds, felt):
        states, frames = [generator.open(name, 7) for name in names], []
        for chunk in range(3):
            made, states = generator.step(states, [s[chunk] for s in sounds], felt)
            frames.append(made)
        return np.concatenate(frames, 1).astype(int)

    happy, both = [("happy", 1.0)], [("neutral", 0.0), ("sad", 0.5)]
    together = film(("ada", "duo"), (one[:, None], two), [happy, both])
    assert np.abs(together[0] - film(("ada",), (one[:, None],), [happy])[0]).max() <= 1
    assert np.abs(together[1] - film(("duo",), (two,), [both])[0]).max() <= 1


def test_a_preset_may_ask_for_more_of_an_emotion_than_it_is_told(generator, monkeypatch):
    window = sound(1, 1)[0][None]

    def shown(intensity: float) -> np.ndarray:
        return generator.step([generator.open("ada", 5)], [window], [[("happy", intensity)]])[0]

    full, half = shown(1.0), shown(0.5)
    monkeypatch.setattr(generator, "preset", replace(generator.preset, emotion_gain=2.0))
    assert np.array_equal(shown(0.5), full) and not np.array_equal(full, half)


def test_neutral_at_any_intensity_is_no_emotion(generator):
    windows = sound(1, 2)
    plain = run(generator, windows)[0]
    state, frames = generator.open("ada", 5), []
    for window in windows:
        made, (state,) = generator.step([state], [window[None]], [[("neutral", 1.0)]])
        frames.append(made[0])
    assert np.array_equal(np.concatenate(frames), plain)


def test_an_emotion_nobody_knows_is_named_with_those_there_are(generator):
    with pytest.raises(ValueError, match="'bored'; there are: neutral, happy, sad"):
        generator.step([generator.open("ada", 1)], [sound(1, 1)], [[("bored", 1.0)]])


def test_every_face_needs_a_sound(generator):
    with pytest.raises(ValueError, match="duo has 2 faces, but there are 1 sounds"):
        generator.step([generator.open("duo", 1)], [sound(1, 1)])
