"""The measuring instruments: they read heads, lips, eyelids and emotions off pictures of people whom they know.

They are taught with true pictures and know nothing of who made what they judge. First each person's own regression tells
how the head is held; then what is cut out upright, and the same at rest, go to small networks that are shared by everybody.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from model.evaluation.kernel import KernelRidge
from model.evaluation.lessons import lesson
from model.evaluation.network import centred, taught
from model.evaluation.people import Sitters
from model.evaluation.places import EYES, FACE, HEAD, MOUTH, Part, Place
from model.generator import Generator
from model.train.pictures import Feeling
from model.train.visemes import CHANNELS
from model.world.pose import Pose

HEAD_NOISE = 0.012  # heads are read with an error; who reads lips must have met it


@dataclass(frozen=True)
class Effort:
    pictures: int = 120  # of each scene
    steps: int = 1500
    felt_pictures: int = 150
    felt_steps: int = 900


@dataclass(frozen=True)
class Reading:
    """What pictures show of one person."""

    lips: np.ndarray  # f 4, as CHANNELS
    head: np.ndarray  # f 5, as HEAD
    blink: np.ndarray  # f


@dataclass(frozen=True)
class Acquaintance:
    """What the instruments know of one person in one scene."""

    place: Place
    head: KernelRidge
    rest: np.ndarray  # the picture at rest, h w 3

    def heads(self, frames: np.ndarray) -> np.ndarray:
        return self.head.read(self.place.whole(frames))

    def seen(self, part: Part, frames: np.ndarray, heads: np.ndarray) -> Tensor:
        """f 6 rows columns uint8: the part, and the same at rest."""
        now = self.place.upright(part, frames, heads)
        rest = self.place.upright(part, self.rest[None], [np.zeros(len(HEAD))])
        return torch.from_numpy(np.concatenate((now, np.broadcast_to(rest, now.shape)), 1))


class Readers:
    """Taught with pictures of all these scenes; reads those only."""

    def __init__(self, generator: Generator, everybody: Sequence[Sitters], effort: Effort, seed: int) -> None:
        rng, size, self._known = np.random.default_rng(seed), generator.preset.width, {}
        mouths, eyes, lips, lids = [], [], [], []
        for sitters in everybody:
            one = lesson(rng, generator, sitters, effort.pictures)
            rest = sitters.at_rest(size)
            for person in range(len(sitters.scene.people)):
                place, poses = Place.of(sitters.scene, person, size), [held[person] for held in one.poses]
                heads = values(poses, HEAD)
                known = Acquaintance(place, KernelRidge(place.whole(one.frames), heads), rest)
                self._known[sitters.name, person] = known
                about = heads + rng.normal(0, HEAD_NOISE, heads.shape)
                mouths.append(known.seen(MOUTH, one.frames, about))
                eyes.append(known.seen(EYES, one.frames, about))
                lips.append(values(poses, CHANNELS))
                lids.append(values(poses, ("blink",)))
        self._lips = taught(torch.cat(mouths), _numbers(lips), effort.steps, seed)
        self._lids = taught(torch.cat(eyes), _numbers(lids), effort.steps // 2, seed + 1)

    def read(self, sitters: Sitters, frames: np.ndarray, person: int = 0) -> Reading:
        """frames f h w 3 uint8 of a scene that was taught. Raises KeyError for another."""
        known = self._known[sitters.name, person]
        heads = known.heads(frames)
        lips = told(self._lips, known.seen(MOUTH, frames, heads))
        return Reading(lips, heads, told(self._lids, known.seen(EYES, frames, heads))[:, 0])

    def face(self, sitters: Sitters, frames: np.ndarray) -> Tensor:
        """The upright face of somebody alone, and at rest: f 6 rows columns uint8."""
        known = self._known[sitters.name, 0]
        return known.seen(FACE, frames, known.heads(frames))


class EmotionReader:
    """Tells which emotion a face shows, at half strength or more."""

    def __init__(
        self, generator: Generator, readers: Readers, people: Sequence[Sitters], names: Sequence[str], effort: Effort,
        seed: int,
    ) -> None:  # fmt: skip
        self.names, self._readers = tuple(names), readers
        rng, faces, shown = np.random.default_rng(seed), [], []
        for sitters in people:
            for number, name in enumerate(names):
                feelings = [Feeling((name, s), (name, s)) for s in rng.uniform(0.5, 1.0, 8)]
                one = lesson(rng, generator, sitters, effort.felt_pictures // len(names), feelings)
                faces.append(readers.face(sitters, one.frames))
                shown += [number] * len(one.frames)
        self._network = taught(torch.cat(faces), torch.tensor(shown), effort.felt_steps, seed)

    def read(self, sitters: Sitters, frames: np.ndarray) -> list[str]:
        """frames f h w 3 of somebody alone -> the emotion seen in each."""
        return [self.names[number] for number in told(self._network, self._readers.face(sitters, frames)).argmax(1)]


def values(poses: Sequence[Pose], names: Sequence[str]) -> np.ndarray:
    return np.array([[getattr(pose, name) for name in names] for pose in poses], np.float64)


@torch.inference_mode()
def told(net: nn.Module, seen: Tensor) -> np.ndarray:
    return net(centred(seen)).double().numpy()


def _numbers(parts: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts)).float()
