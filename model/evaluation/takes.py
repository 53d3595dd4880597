"""Filming: sitters hear something, the generator shows them through its streaming path, and what it shows is measured.

Beside what was made stand, for the same moments: the true pictures, these through the autoencoder, and a jaw that follows
loudness. All are read by the same instruments; frames are not kept, but for a strip to look at.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from model.audio import windows_of
from model.evaluation import colour
from model.evaluation.jaw import Jaw
from model.evaluation.people import Sitters, through
from model.evaluation.readers import EmotionReader, Readers
from model.evaluation.series import energy
from model.generator import NEUTRAL, Emotion, Generator
from model.motion import Motion, idle_motion
from model.train import pictures
from model.train.phones import CLOSED, PHONE_ID
from model.train.pictures import FPS, Feeling, poses_at
from model.train.sheets import sharpness
from model.train.speech import Clip
from model.world.look import Look

MADE, TRUE, PASSED, JAW = "generated", "true pictures", "true, through the autoencoder", "loudness only"
PER_FRAME = 4  # moments of a mouth track in a frame
STRIP, STRIP_EVERY = 10, 4
COLOUR_EVERY = 40  # frames with open eyes, one whose colours are measured
OPEN_EYES = 0.1  # blinks below that
EYES_IN_PLACE = "eyes, the same pixels"
_LIP_PHONES = [PHONE_ID[name] for name in CLOSED]


@dataclass(frozen=True)
class Seen:
    """What one side shows over a take. A jaw has lips only."""

    lips: np.ndarray  # f 4: open, width, round, bite
    blink: np.ndarray | None = None  # f
    head: np.ndarray | None = None  # f 3: yaw, pitch, roll
    error: float = float("nan")  # mean square against the true pictures, in 0 … 1
    sharpness: float = float("nan")
    colours: dict[str, float] = field(default_factory=dict)  # Delta E against the true pictures

    @property
    def energy(self) -> float:
        return energy(self.head)


@dataclass(frozen=True)
class Take:
    sitters: Sitters
    sound: str  # "speech" or what else is heard
    mouth: np.ndarray  # f 4, the truth
    level: np.ndarray  # f, logarithm of the loudness
    speaking: np.ndarray  # f bool
    lip_phones: np.ndarray  # f PER_FRAME bool: p, b or m
    seen: dict[str, Seen]
    strip: tuple[np.ndarray, np.ndarray]  # generated and true frames, STRIP h w 3 each

    @property
    def quiet(self) -> np.ndarray:
        """Frames in which the true mouth is at rest."""
        return ~self.speaking & (np.abs(self.mouth).max(1) < 0.02)


@dataclass(frozen=True)
class Stage:
    generator: Generator
    readers: Readers
    jaw: Jaw

    @property
    def size(self) -> int:
        return self.generator.preset.width


@torch.inference_mode()
def film(
    generator: Generator, character: str, sounds: np.ndarray, seed: int, emotions: Sequence[Emotion] | None = None
) -> np.ndarray:
    """The frames of whole recordings, one for each face (n samples), chunk by chunk through the streaming path."""
    state, frames = generator.open(character, seed), []
    windows = windows_of(torch.from_numpy(sounds), generator.preset.audio).transpose(0, 1)
    for chunk in windows.numpy():
        made, (state,) = generator.step([state], [chunk], emotions and [emotions])
        frames.append(made[0])
    return np.concatenate(frames)


def motion_of(generator: Generator, seed: int, frames: Sequence[int] | np.ndarray) -> Motion:
    """What the generator was told to move like in these frames of a session."""
    return idle_motion(seed, np.asarray(frames) / generator.preset.fps, 0.0, generator.motion_strength)


def mouth_of(clip: Clip) -> np.ndarray:
    """The true mouth of each whole frame, f 4."""
    count = len(clip.mouth) // PER_FRAME
    return clip.mouth[: PER_FRAME * count].reshape(count, PER_FRAME, 4).mean(1)


def pcm_of(clip: Clip) -> np.ndarray:
    """The sound of the whole frames."""
    return clip.pcm_16k[: len(clip.mouth) // PER_FRAME * (16_000 // FPS)].astype(np.float32)


def speech_take(stage: Stage, sitters: Sitters, clip: Clip, seed: int, sound: str = "speech") -> Take:
    """Somebody alone hears the clip: speech, or a sound that moves no mouth."""
    count = len(clip.mouth) // PER_FRAME
    frames = film(stage.generator, sitters.name, pcm_of(clip)[None], seed)[:count]
    return measured(stage, sitters, clip, frames, motion_of(stage.generator, seed, range(count)), sound)


def measured(stage: Stage, sitters: Sitters, clip: Clip, frames: np.ndarray, motion: Motion, sound: str = "speech") -> Take:
    """The take of frames f h w 3 that were made of a clip of that length under that motion."""
    mouth, level = mouth_of(clip), stage.jaw.level(pcm_of(clip))
    phones = clip.phones[: PER_FRAME * len(mouth)].reshape(-1, PER_FRAME)
    true = pictures.film(sitters.scene, motion, mouth[None], [pictures.NEUTRAL], stage.size)
    passed = through(stage.generator, sitters, true)
    parts = _parts(sitters, motion, mouth, stage.size)
    start = int(np.argmax(phones[:, 0] > 0))
    strip = slice(start, start + STRIP * STRIP_EVERY, STRIP_EVERY)
    sides = ((MADE, frames), (TRUE, true), (PASSED, passed))
    return Take(
        sitters, sound, mouth, level, (phones > 0).mean(1) > 0.5, np.isin(phones, _LIP_PHONES),
        {name: _seen(stage, sitters, side, true, parts) for name, side in sides} | {JAW: Seen(stage.jaw.lips(level))},
        (frames[strip].copy(), true[strip].copy()),
    )  # fmt: skip


def _seen(
    stage: Stage, sitters: Sitters, frames: np.ndarray, true: np.ndarray, parts: dict[int, list[colour.Part]]
) -> Seen:
    reading = stage.readers.read(sitters, frames)
    colours: dict[str, list[float]] = {name: [] for name in (*colour.PARTS, EYES_IN_PLACE)}
    for frame, shown in parts.items():
        for part in shown:
            colours[part.name].append(colour.difference(frames[frame], true[frame], part))
            if part.name == "eyes":
                colours[EYES_IN_PLACE].append(colour.difference_in_place(frames[frame], true[frame], part))
    error = np.mean([np.square((a.astype(np.float32) - b) / 255).mean() for a, b in zip(frames, true, strict=True)])
    return Seen(
        reading.lips, reading.blink, reading.head[:, :3], float(error), sharpness(frames[::5]),
        {name: float(np.mean(values)) for name, values in colours.items() if values},
    )  # fmt: skip


def _parts(sitters: Sitters, motion: Motion, mouth: np.ndarray, size: int) -> dict[int, list[colour.Part]]:
    """For some frames with open eyes: where the parts of the person are."""
    awake = np.flatnonzero(motion.blink < OPEN_EYES)
    count = min(len(awake), max(1, len(motion.blink) // COLOUR_EVERY))
    chosen = awake[np.linspace(0, len(awake) - 1, count).astype(int)]

    def drawn(frame: int) -> Callable[[Look], np.ndarray]:
        poses = poses_at(motion, mouth[None], [pictures.NEUTRAL], frame)
        return lambda look: replace(sitters.scene, people=(look,)).render(poses, size)

    return {int(frame): colour.parts_of(drawn(frame), sitters.scene.people[0]) for frame in chosen}


# --- emotions, and two people ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Felt:
    """How often an emotion was seen in somebody who was to show it."""

    sitters: Sitters
    emotion: str
    seen: dict[str, float]  # share of the frames, for MADE, TRUE, PASSED
    picture: np.ndarray  # the last one made


def emotion_take(stage: Stage, emotions: EmotionReader, sitters: Sitters, clip: Clip, emotion: str, seed: int) -> Felt:
    """Speech under an emotion, judged once it has settled: in the last two thirds."""
    strength, mouth = 0.0 if emotion == NEUTRAL else 1.0, mouth_of(clip)
    made = film(stage.generator, sitters.name, pcm_of(clip)[None], seed, [(emotion, strength)])[: len(mouth)]
    late = np.arange(len(mouth) - 10, len(mouth))
    feeling = Feeling((emotion, strength), (emotion, strength))
    true = pictures.film(sitters.scene, motion_of(stage.generator, seed, late), mouth[None, late], [feeling], stage.size)
    sides = {MADE: made[len(made) // 3 :], TRUE: true, PASSED: through(stage.generator, sitters, true)[2:]}
    seen = {name: float(np.mean([e == emotion for e in emotions.read(sitters, side)])) for name, side in sides.items()}
    return Felt(sitters, emotion, seen, made[-1])


@dataclass(frozen=True)
class Duet:
    """Two people, of whom one speaks."""

    sitters: Sitters
    mouth: np.ndarray  # f, true opening of the one who speaks
    speaking: np.ndarray  # f bool
    speaks: dict[str, np.ndarray]  # f, openings as read, for MADE, TRUE, PASSED
    silent: dict[str, np.ndarray]
    strip: tuple[np.ndarray, np.ndarray]


def pair_take(stage: Stage, sitters: Sitters, clip: Clip, speaker: int, seed: int) -> Duet:
    mouth, pcm = mouth_of(clip), pcm_of(clip)
    sounds, mouths = np.zeros((2, len(pcm)), np.float32), np.zeros((2, *mouth.shape), np.float32)
    sounds[speaker], mouths[speaker] = pcm, mouth
    made = film(stage.generator, sitters.name, sounds, seed)[: len(mouth)]
    motion = motion_of(stage.generator, seed, range(len(mouth)))
    true = pictures.film(sitters.scene, motion, mouths, [pictures.NEUTRAL] * 2, stage.size)
    sides = {MADE: made, TRUE: true, PASSED: through(stage.generator, sitters, true)}
    speaks, silent = (
        {name: stage.readers.read(sitters, side, person).lips[:, 0] for name, side in sides.items()}
        for person in (speaker, 1 - speaker)
    )
    speaking = (clip.phones[: PER_FRAME * len(mouth)].reshape(-1, PER_FRAME) > 0).mean(1) > 0.5
    start = int(np.argmax(speaking))
    strip = slice(start, start + STRIP * STRIP_EVERY, STRIP_EVERY)
    return Duet(sitters, mouth[:, 0], speaking, speaks, silent, (made[strip].copy(), true[strip].copy()))
