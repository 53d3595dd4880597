"""How well does the embedded preset talk? Scores its streaming path against the drawn world's truth.

    python -m model.evaluate --speech runs/speech_test --out runs/scores

Voices and sentences are ones it was never trained on. Beside it, a jaw that only follows loudness is scored by the same
rule, because loudness alone earns a good correlation where there are pauses. Emotions are read off the picture by a
classifier, and of two people the silent one is watched. Writes scores.json and sheets of frames.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from model.audio import windows_of
from model.generator import NEUTRAL, Emotion, Generator
from model.loading import load
from model.motion import Motion, idle_motion
from model.probe import EmotionProbe, MouthProbe
from model.train.augment import CLEAN
from model.train.pictures import FPS, pose_at
from model.train.speech import Corpus
from model.world.cast import CHARACTERS
from model.world.drawing import render
from model.world.scene import Scene

SECONDS, EMOTION_SECONDS = 8.0, 3.0
CLOSED, OPEN = 0.08, 0.2
MAX_LAG_FRAMES = 5


@dataclass(frozen=True)
class Take:
    """One character saying one piece of speech, generated as the stream would."""

    frames: np.ndarray
    truth: np.ndarray  # true renders of the same poses
    mouth: np.ndarray  # true mouth, f 4
    made: np.ndarray  # what the probe reads off the generated frames
    read_truth: np.ndarray  # and off the true ones: the probe's own limit
    loudness: np.ndarray
    speaking: np.ndarray
    closures: np.ndarray  # frames in the middle of a p, b or m


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


def take(generator: Generator, character: str, clip, seed: int, probe: MouthProbe) -> Take:
    count = len(clip.mouth) // 4
    mouth = clip.mouth[: 4 * count].reshape(-1, 4, 4).mean(1)
    phones = clip.phones[: 4 * count].reshape(-1, 4)
    pcm = clip.pcm_16k[: count * 640].astype(np.float32)
    frames = film(generator, character, pcm[None], seed)[:count]
    motion = motion_of(generator, seed, count)
    look = CHARACTERS[character]
    truth = np.stack([render(look, pose_at(motion, mouth, f), 256) for f in range(count)])
    level = np.sqrt(np.square(pcm.reshape(count, -1)).mean(1))
    return Take(
        frames, truth, mouth, probe.read(frames), probe.read(truth), np.convolve(level, [0.25, 0.5, 0.25], "same"),
        (phones > 0).mean(1) > 0.5, closure_frames(mouth),
    )  # fmt: skip


def motion_of(generator: Generator, seed: int, frames: int) -> Motion:
    """What the generator was told to move like."""
    return idle_motion(seed, np.arange(frames) / generator.preset.fps, 0.0, generator.motion_strength)


def closure_frames(mouth: np.ndarray) -> np.ndarray:
    """Frames where the true mouth is shut between two openings: the p, b and m of running speech."""
    shut = mouth[:, 0] < CLOSED / 2
    frames = []
    for f in np.flatnonzero(shut):
        before, after = mouth[max(0, f - 4) : f, 0], mouth[f + 1 : f + 5, 0]
        if len(before) and len(after) and before.max() > OPEN and after.max() > OPEN:
            frames.append(f)
    return np.array(frames, int)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 and a.std() > 0 and b.std() > 0 else 0.0


def without(x: np.ndarray, predictor: np.ndarray) -> np.ndarray:
    """What a straight line from the predictor leaves of x."""
    design = np.stack((predictor, np.ones_like(predictor)), 1)
    return x - design @ np.linalg.lstsq(design, x, rcond=None)[0]


def lag_ms(made: np.ndarray, true: np.ndarray) -> float:
    """Where the correlation peaks, between frames by a parabola; positive: the picture is late."""
    lags = np.arange(-MAX_LAG_FRAMES, MAX_LAG_FRAMES + 1)
    at = [correlation(np.roll(made, -lag)[8:-8], true[8:-8]) for lag in lags]
    best = int(np.clip(np.argmax(at), 1, len(lags) - 2))
    left, middle, right = at[best - 1 : best + 2]
    bend = left - 2 * middle + right
    return 1000 / FPS * float(lags[best] + (0.5 * (left - right) / bend if bend else 0))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(a.astype(np.float32) / 255 - b.astype(np.float32) / 255).mean()))


def sharpness(frames: np.ndarray) -> float:
    """Mean size of the steps between neighbouring pixels."""
    grey = frames.astype(np.float32).mean(-1)
    return float(np.abs(np.diff(grey, axis=1)).mean() + np.abs(np.diff(grey, axis=2)).mean())


def score(takes: list[Take]) -> dict[str, float]:
    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(t, name) for t in takes])

    true, made, loud, speaking = joined("mouth"), joined("made"), joined("loudness"), joined("speaking")
    jaw = np.log10(loud + 1e-4)
    inside = speaking.astype(bool)
    shut = [t.made[t.closures, 0].tolist() for t in takes]
    shut = np.array([x for part in shut for x in part])
    opened = made[inside, 0]

    def lips(values: np.ndarray) -> dict[str, float]:
        return {
            "opening, pauses counted": correlation(values, true[:, 0]),
            "opening inside speech": correlation(values[inside], true[inside, 0]),
            "opening inside speech beyond loudness": correlation(
                without(values[inside], jaw[inside]), without(true[inside, 0], jaw[inside])
            ),
            "lag ms": lag_ms(values, true[:, 0]),
        }

    result = lips(made[:, 0])
    result |= {f"loudness jaw: {name}": value for name, value in lips(jaw).items() if name != "lag ms"}
    result |= {f"limit of the reading: {k}": v for k, v in lips(joined("read_truth")[:, 0]).items() if "loud" not in k}
    for place, name in ((1, "width"), (2, "rounding")):
        result[f"{name} beyond opening"] = correlation(
            without(made[inside, place], made[inside, 0]), without(true[inside, place], true[inside, 0])
        )
    quiet = ~inside & (true[:, 0] < 0.02)
    result |= {
        "closures seen": float((shut < max(CLOSED, 0.35 * np.median(opened))).mean()) if len(shut) else float("nan"),
        "closures in the sample": len(shut),
        "mouth motion in silence against speech": motion_size(made[:, 0], quiet) / motion_size(made[:, 0], inside),
        "picture against true render, dB": psnr(joined("frames"), joined("truth")),
        "sharpness against true render": sharpness(joined("frames")[::5]) / sharpness(joined("truth")[::5]),
    }
    return result


def motion_size(values: np.ndarray, where: np.ndarray) -> float:
    both = where[1:] & where[:-1]
    return float(np.abs(np.diff(values))[both].mean())


# --- emotions, and two people ----------------------------------------------------------------------------------------


def scene_of(character: str) -> Scene:
    """The drawn people of a character, whose name is theirs."""
    return Scene(tuple(CHARACTERS[name] for name in character.split("_")))


def score_emotions(generator: Generator, characters: Sequence[str], corpus: Corpus, folder: Path) -> dict[str, float]:
    """How often a classifier that knows true pictures of a character sees the emotion that was asked for, in speech."""
    rng, names = np.random.default_rng(13), generator.info["emotions"]
    probe = EmotionProbe([scene_of(character) for character in characters], names, seed=14)
    seen, rows = {name: [] for name in names}, []
    for character in characters:
        (box,), row = scene_of(character).face_boxes(), []
        for name in names:
            pcm = corpus.sample(rng, EMOTION_SECONDS, augmented=False).pcm_16k.astype(np.float32)
            frames = film(generator, character, pcm[None], seed=31, emotions=[(name, 0.0 if name == NEUTRAL else 1.0)])
            settled = frames[len(frames) // 3 :]
            seen[name] += [read == name for read in probe.read(settled, box)]
            row.append(settled[-1])
        rows.append(np.concatenate(row, 1))
    Image.fromarray(np.concatenate(rows)[::2, ::2]).save(folder / "emotions.png")
    shares = {f"emotion seen: {name}": float(np.mean(hits)) for name, hits in seen.items()}
    return {"emotion seen": float(np.mean(list(shares.values())))} | shares


def score_pair(generator: Generator, character: str, corpus: Corpus, folder: Path) -> dict[str, float]:
    """Two people, one of whom speaks: each mouth against the sound that is its own, and against the other's."""
    rng, scene, own, others, still = np.random.default_rng(15), scene_of(character), [], [], []
    for speaker in (0, 1):
        clip = corpus.sample(rng, SECONDS, augmented=False)
        count = len(clip.mouth) // 4
        mouth = clip.mouth[: 4 * count].reshape(-1, 4, 4).mean(1)[:, 0]
        sounds = np.zeros((2, count * 640), np.float32)
        sounds[speaker] = clip.pcm_16k[: count * 640]
        frames = film(generator, character, sounds, seed=41)[:count]
        speaks, listens = (MouthProbe(scene, person, seed=16).read(frames)[:, 0] for person in (speaker, 1 - speaker))
        own.append(correlation(speaks, mouth))
        others.append(abs(correlation(listens, mouth)))
        still.append(float(np.abs(np.diff(listens)).mean() / np.abs(np.diff(speaks)).mean()))
        start = int(np.argmax(mouth > OPEN))
        Image.fromarray(np.concatenate(list(frames[start : start + 40 : 4]), 1)[::2, ::2]).save(
            folder / f"{character}_{speaker}.png"
        )
    return {
        "two people: opening of the one who speaks": float(np.mean(own)),
        "two people: the silent mouth against the other's sound": float(np.max(others)),
        "two people: motion of the silent mouth against the other's": float(np.max(still)),
    }


def sheet(takes: dict[str, Take], path: Path, every: int = 4, columns: int = 10) -> None:
    """For each character, generated frames above the true ones."""
    rows = []
    for one in takes.values():
        start = int(np.argmax(one.speaking))
        for frames in (one.frames, one.truth):
            picked = frames[start : start + every * columns : every]
            rows.append(np.concatenate(list(picked), 1)[:, : 256 * columns])
    width = min(row.shape[1] for row in rows)
    Image.fromarray(np.concatenate([row[:, :width] for row in rows])).resize((width // 2, 128 * len(rows))).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=Path("runs/speech_test"))
    parser.add_argument("--out", type=Path, default=Path("runs/scores"))
    parser.add_argument("--takes", type=int, default=2, help="pieces of speech for each character")
    parser.add_argument("--only", nargs="*", help="characters; all without it")
    parser.add_argument("--preset", default="embedded")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options.out.mkdir(parents=True, exist_ok=True)
    generator = load(options.preset, options.threads)
    corpus = Corpus(options.speech, CLEAN)
    rng = np.random.default_rng(11)
    takes: dict[str, list[Take]] = {}
    chosen = options.only or list(generator.characters)
    alone = [name for name in chosen if len(generator.characters[name].faces) == 1]
    for character in alone:
        probe = MouthProbe(scene_of(character), 0, seed=12)
        clips = [corpus.sample(rng, SECONDS, augmented=False) for _ in range(options.takes)]
        takes[character] = [take(generator, character, clip, seed, probe) for seed, clip in enumerate(clips, 21)]
        logging.info("%s: opening %.2f", character, score(takes[character])["opening, pauses counted"])
    result = score([one for many in takes.values() for one in many])
    if generator.info["emotions"]:
        result |= score_emotions(generator, alone, corpus, options.out)
    for pair in (name for name in chosen if name not in alone):
        result |= score_pair(generator, pair, corpus, options.out)
    for name, value in result.items():
        logging.info("%-60s %8.3f", name, value)
    (options.out / "scores.json").write_text(json.dumps(result, indent=1) + "\n")
    sheet({name: many[0] for name, many in takes.items()}, options.out / "sheet.png")


if __name__ == "__main__":
    main()
