"""The weights in the repository: a face that speaks with a voice it never heard, rests in silence and stays itself.

The thresholds lie well below what the weights reach (python -m model.evaluate says how much); they catch weights and
code that no longer belong together.
"""

import numpy as np
import pytest

from model.evaluation.series import correlation, lag_ms
from model.evaluation.takes import PER_FRAME, film, mouth_of, pcm_of
from model.loading import load
from model.train.speech import CorpusConfig, make_clip
from model.world.cast import CHARACTERS
from model.world.drawing import render
from model.world.pose import Pose
from model.world.scene import Scene
from ops.mouth_probe import MouthProbe
from stream.messages import PresetInfo

CHARACTER = "ada"


@pytest.fixture(scope="module")
def generator():
    return load("embedded")


@pytest.fixture(scope="module")
def probe():
    return MouthProbe(Scene((CHARACTERS[CHARACTER],)), 0, seed=1)


@pytest.fixture(scope="module")
def spoken(generator, probe):
    """Some seconds of a voice and sentences that were kept out of training: openings made and true, and who speaks when."""
    clip = make_clip(np.random.default_rng(3), CorpusConfig(split="test", clip_s=(7.0, 8.0), speechless=0.0))
    true = mouth_of(clip)[:, 0]
    made = probe.read(film(generator, CHARACTER, pcm_of(clip)[None], seed=4)[: len(true)])[:, 0]
    return made, true, (clip.phones[: PER_FRAME * len(true)].reshape(-1, PER_FRAME) > 0).mean(1) > 0.5


def test_the_server_gets_all_it_must_know(generator):
    info = PresetInfo(**generator.info)
    assert (info.width, info.height, info.fps, info.frames_per_chunk) == (256, 256, 25, 2)
    assert len(generator.characters) >= 4


def test_the_lips_follow_an_unheard_voice_and_no_other(spoken):
    made, true, _ = spoken
    own, other = correlation(made, true), correlation(made, true[::-1])
    assert own > 0.5 and own > other + 0.3


def test_the_lips_are_in_step(spoken):
    made, true, _ = spoken
    assert abs(lag_ms([made], [true])) < 60


def test_the_mouth_rests_in_silence(generator, probe, spoken):
    silent = probe.read(film(generator, CHARACTER, np.zeros((1, 3 * 16_000), np.float32), seed=4))[:, 0]
    made, _, speaking = spoken
    assert np.quantile(silent, 0.95) < 0.1 < np.quantile(made[speaking], 0.8)


@pytest.mark.parametrize("name", sorted(CHARACTERS))
def test_a_character_looks_like_its_picture_also_after_a_day(generator, name):
    true = render(CHARACTERS[name], Pose.neutral(), 256).astype(float)
    for start in (0, 10**6):
        state = generator.open(name, 1, start)
        window = np.zeros((1, generator.preset.audio.window_samples), np.float32)
        for _ in range(6):
            frames, (state,) = generator.step([state], [window])
        colour = frames[0, -1].astype(float).mean((0, 1)) - true.mean((0, 1))
        assert np.abs(colour).max() < 8


def test_silence_is_alive(generator):
    frames = film(generator, CHARACTER, np.zeros((1, 4 * 16_000), np.float32), seed=4).astype(float)
    assert np.abs(frames[60] - frames[90]).mean() > 0.3
