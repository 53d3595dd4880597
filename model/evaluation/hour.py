"""One session for an hour: does the face still speak, and look like itself, in the last minute as in the first?

Every chunk is generated. All minutes hear the same sound, and the head is asked for the same movements, so that they differ
by nothing but their age; some of them are measured, the first and the last among them.
"""

import logging
from collections.abc import Iterator

import numpy as np
import torch

from model.audio import SAMPLE_RATE, windows_of
from model.evaluation import series
from model.evaluation.colour import PARTS
from model.evaluation.people import Sitters
from model.evaluation.takes import MADE, PER_FRAME, TRUE, Stage, Take, measured, motion_of, pcm_of
from model.train.sheets import decibels
from model.train.speech import TRACK_HZ, Clip, Corpus

log = logging.getLogger(__name__)

PIECES = 6  # of speech, which a minute consists of
MEASURED = 7  # of the minutes, evenly from the first to the last


def round_of_speech(corpus: Corpus, rng: np.random.Generator, minute_s: float, frames_per_chunk: int) -> Clip:
    """Pieces of several voices, one after another; whole chunks of them."""
    pieces = [corpus.sample(rng, minute_s / PIECES, augmented=False) for _ in range(PIECES)]
    pcm, mouth, phones = (np.concatenate([getattr(p, part) for p in pieces]) for part in ("pcm_16k", "mouth", "phones"))
    whole = len(mouth) - len(mouth) % (PER_FRAME * frames_per_chunk)
    return Clip(pcm[: whole * SAMPLE_RATE // TRACK_HZ], mouth[:whole], phones[:whole])


def long_session(
    stage: Stage, sitters: Sitters, corpus: Corpus, minutes: int, rng: np.random.Generator, seed: int,
    minute_s: float,
) -> list[dict[str, float]]:  # fmt: skip
    """What each measured minute scores, with its number as `minute`."""
    clip = round_of_speech(corpus, rng, minute_s, stage.generator.preset.audio.frames_per_chunk)
    wanted, scored = set(np.linspace(0, minutes - 1, min(MEASURED, minutes)).round().astype(int).tolist()), []
    for minute, frames in enumerate(_minutes(stage, sitters, pcm_of(clip), minutes, seed)):
        if minute in wanted:
            take = measured(stage, sitters, clip, frames, motion_of(stage.generator, seed, range(len(frames))))
            scored.append({"minute": minute + 1} | _scores(take))
            log.info("minute %d: %s", minute + 1, {name: round(value, 3) for name, value in scored[-1].items()})
    return scored


@torch.inference_mode()
def _minutes(stage: Stage, sitters: Sitters, pcm: np.ndarray, minutes: int, seed: int) -> Iterator[np.ndarray]:
    """The frames of each minute; the sound goes round without a seam, and the clock that moves the head is set back."""
    generator = stage.generator
    audio, state = generator.preset.audio, generator.open(sitters.name, seed)
    heard = windows_of(torch.from_numpy(np.concatenate((pcm, pcm, pcm)))[None], audio)[0].numpy()
    chunks = len(pcm) // audio.chunk_samples
    for minute in range(minutes):
        frames, state = [], generator.at(state, 0)
        for window in heard[:chunks] if minute == 0 else heard[chunks : 2 * chunks]:
            made, (state,) = generator.step([state], [window[None]])
            frames.append(made[0])
        yield np.concatenate(frames)


def _scores(take: Take) -> dict[str, float]:
    seen = take.seen[MADE]
    colours = [apart for name, apart in seen.colours.items() if name in PARTS]
    return {
        "lips": series.correlation(seen.lips[:, 0], take.mouth[:, 0]),
        "colour": float(np.mean(colours)) if colours else float("nan"),
        "sharpness": seen.sharpness / take.seen[TRUE].sharpness,
        "picture": decibels(seen.error),
    }
