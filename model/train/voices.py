"""Who speaks: every synthetic voice with its pitch and pace, and one call that makes it say a sentence.

Some voices are for tests only, so that "an unseen voice" means one. Knows no mouths and no files.
"""

from dataclasses import dataclass

import numpy as np
import soxr

from . import espeak, flite
from .phones import Timed, from_cmu, from_ipa, spread, tidy

RATE = 16000


@dataclass(frozen=True)
class Voice:
    """One way of speaking. `pitch` is a mean in Hz for flite (None: its own) and 0..99 for eSpeak NG."""

    engine: str  # "flite" or "espeak"
    base: str
    language: str = "en"
    pace: float = 1.0  # 1 is ordinary, 1.3 is fast
    pitch: float | None = None
    liveliness: int = 50  # pitch range of eSpeak NG

    @property
    def name(self) -> str:
        return f"{self.engine}/{self.base}"


@dataclass(frozen=True)
class Utterance:
    """A spoken sentence and when each of its phones is heard; silence is a phone too."""

    pcm_16k: np.ndarray  # float32
    phonemes: tuple[Timed, ...]
    voice: Voice

    @property
    def duration_s(self) -> float:
        return len(self.pcm_16k) / RATE


# Base voice -> share among its kind, range of pitch. rms ignores a wanted pitch, so it has none.
_FLITE_TRAIN = {"slt": (0.4, (150, 260)), "rms": (0.35, None), "kal16": (0.15, (80, 150)), "kal": (0.1, (80, 150))}
_FLITE_TEST = {"awb": (1.0, (85, 170))}
_ENGLISH_TRAIN = ("en-us", "en", "en-gb-scotland", "en-gb-x-gbclan", "en-029")
_ENGLISH_TEST = ("en-gb-x-rp",)
_OTHER_TRAIN = ("de", "fr", "es", "it", "pl", "tr", "nl", "sv", "ru", "fi")
_OTHER_TEST = ("pt", "it")
_VARIANTS_TRAIN = ("", "m1", "m2", "m3", "m4", "m6", "m7", "f1", "f2", "f3", "f4", "klatt", "klatt2", "klatt4", "steph",
                   "Andy", "Annie", "belinda", "michael", "Denis", "quincy", "linda", "victor", "Alicia",
                   "grandma")  # fmt: skip
_VARIANTS_TEST = ("f5", "m8", "klatt3", "Diogo", "anika")


def _bases(split: str) -> list[str]:
    flite_bases = _FLITE_TRAIN if split == "train" else _FLITE_TEST
    languages = (*_ENGLISH_TRAIN, *_OTHER_TRAIN) if split == "train" else (*_ENGLISH_TEST, *_OTHER_TEST)
    variants = _VARIANTS_TRAIN if split == "train" else _VARIANTS_TEST
    spoken = [f"espeak/{language}+{variant}".rstrip("+") for language in languages for variant in variants]
    return [f"flite/{base}" for base in flite_bases] + spoken


VOICE_NAMES: tuple[str, ...] = (*_bases("train"), *_bases("test"))
VOICE_ID: dict[str, int] = {name: i for i, name in enumerate(VOICE_NAMES)}


def draw_voice(rng: np.random.Generator, split: str = "train") -> Voice:
    """A voice of the split: half of them flite's, which sound most like people, the rest eSpeak NG's."""
    if split not in ("train", "test"):
        raise ValueError(f"split is 'train' or 'test', not {split!r}")
    training = split == "train"
    pace = float(np.exp(rng.normal(0.0, 0.14)).clip(0.75, 1.4))
    if rng.random() < 0.55:
        bases = _FLITE_TRAIN if training else _FLITE_TEST
        base = str(rng.choice(list(bases), p=[share for share, _ in bases.values()]))
        pitch_range = bases[base][1]
        pitch = None if pitch_range is None else float(rng.uniform(*pitch_range))
        return Voice("flite", base, pace=pace, pitch=pitch)
    variant = str(rng.choice(_VARIANTS_TRAIN if training else _VARIANTS_TEST))
    if rng.random() < 0.62:
        language, accent = "en", str(rng.choice(_ENGLISH_TRAIN if training else _ENGLISH_TEST))
    else:
        language = accent = str(rng.choice(_OTHER_TRAIN if training else _OTHER_TEST))
    base = f"{accent}+{variant}" if variant else accent
    return Voice("espeak", base, language, pace, float(rng.integers(20, 80)), int(rng.integers(25, 75)))


def synthesise(text: str, voice: Voice, rng: np.random.Generator | None = None) -> Utterance:
    """Say one sentence. `rng`, if given, varies the pace a little, as people do from sentence to sentence."""
    pace = voice.pace * (1 if rng is None else float(rng.uniform(0.93, 1.08)))
    if voice.engine == "flite":
        pcm, rate, heard = flite.speak(text, voice.base, 1 / pace, voice.pitch)
        parts = from_cmu
    elif voice.engine == "espeak":
        pcm, rate, heard = espeak.speak(text, voice.base, round(160 * pace), round(voice.pitch or 50), voice.liveliness)
        parts = from_ipa
    else:
        raise ValueError(f"engine is 'flite' or 'espeak', not {voice.engine!r}")
    if rate != RATE:
        pcm = soxr.resample(pcm, rate, RATE, quality="HQ")
    phones = [timed for name, start_s, end_s in heard for timed in spread(parts(name), start_s, end_s)]
    return Utterance(pcm.astype(np.float32), tidy(phones, len(pcm) / RATE), voice)
