"""The instruments of the scores read true pictures, at any pose and of any kind of person, as what they are."""

import numpy as np
import pytest
import torch

from model.evaluation.people import STRANGERS, Sitters
from model.evaluation.places import HEAD, MOUTH, Place
from model.evaluation.readers import Effort, Readers
from model.evaluation.series import correlation, energy, motion
from model.motion import idle_motion
from model.train.pictures import NEUTRAL, film, random_mouth
from model.world.look import Look
from model.world.pose import Pose
from model.world.scene import Scene

FRAMES, STILL = 40, 15
LOOKS = {"a person": Look(beard="full"), "a fox": Look(species="fox", style="inked", closeness=0.5)}


class Lossless:
    """In a generator's place: an autoencoder that loses nothing, and pictures as large as the embedded preset's."""

    preset = type("Preset", (), {"width": 256, "painted": (256, 256)})
    dtype = torch.float32
    memory = None

    def open(self, name: str, seed: int) -> "Lossless":
        return self

    @property
    def vae(self) -> "Lossless":
        return self

    decoder = vae

    def encode(self, pictures, still):
        return pictures, None

    def decode(self, latents, memories):
        return latents.transpose(1, 2), memories


@pytest.fixture(scope="module")
def readers():
    return Readers(Lossless(), [sitters(name) for name in LOOKS], Effort(pictures=130, steps=150), seed=1)


def sitters(name: str) -> Sitters:
    return Sitters(name, STRANGERS, Scene((LOOKS[name],)))


@pytest.mark.parametrize("name", LOOKS)
def test_true_pictures_are_read_as_what_they_show(readers, name):
    moved, mouth = idle_motion(3, np.arange(FRAMES) / 25), random_mouth(np.random.default_rng(2), FRAMES)
    reading = readers.read(sitters(name), film(sitters(name).scene, moved, mouth[None], [NEUTRAL], 256))
    assert correlation(reading.lips[:, 0], mouth[:, 0]) > 0.95
    angles = np.stack((moved.yaw, moved.pitch, moved.roll), 1)
    assert all(correlation(reading.head[:, i], angles[:, i]) > 0.97 for i in range(3))
    assert energy(reading.head[:, :3]) == pytest.approx(energy(angles), rel=0.25)
    still = readers.read(sitters(name), film(sitters(name).scene, moved, 0 * mouth[None, :STILL], [NEUTRAL], 256))
    quiet, spoken = (motion([lips[:, 0]], [np.ones(len(lips), bool)]) for lips in (still.lips, mouth))
    assert quiet < 0.05 * spoken


def test_a_mouth_is_cut_out_the_same_however_the_head_is_held():
    scene = sitters("a person").scene
    place = Place.of(scene, 0, 256)

    def cut(pose: Pose) -> np.ndarray:
        head = np.array([getattr(pose, name) for name in HEAD])
        return place.upright(MOUTH, scene.render((pose,))[None], [head])[0].astype(float)

    rest, turned, opened = cut(Pose()), cut(Pose(roll=0.9, x=0.8, y=-0.7)), cut(Pose(open=0.3))
    assert np.abs(turned - rest).mean() < 0.5 * np.abs(opened - rest).mean()
