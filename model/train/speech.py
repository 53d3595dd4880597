"""The corpus of talking: builds clips of synthetic speech with their mouth tracks, and hands out pieces of them.

    python -m model.train.speech [--section speech_test]    # settings: that section of recipe.toml, and flags of its names

The same settings give the same corpus; a run that was cut off goes on where it stopped. Knows no pictures.
"""

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from . import sounds
from .augment import RATE, SPEECH_RMS, AugmentConfig, augment, draw_stretch, speech_level
from .manners import laughter, sung, whispered
from .phones import PHONE_ID, PHONES, Timed, tidy
from .recipe import from_command_line
from .scores import write_scores
from .sentences import sentences
from .visemes import CHANNELS, minimum_jerk, mouth_track
from .voices import VOICE_ID, VOICE_NAMES, Utterance, Voice, draw_voice, synthesise

__all__ = ["Clip", "Corpus", "Utterance", "Voice", "build", "draw_voice", "synthesise"]

TRACK_HZ = 100
_HOP = RATE // TRACK_HZ
_NO_VOICE = 65535
_FORMAT = 1  # of the files
_RECIPE = 2  # raised whenever the same seed would give another corpus
CUT_CLOSING_S = (-0.02, 0.10)  # when the mouth begins and ends to shut around the moment a voice is cut off


@dataclass(frozen=True)
class Clip:
    pcm_16k: np.ndarray  # float32 (n,)
    mouth: np.ndarray  # float32 (n100, 4): open, width, round, bite at k / 100 s
    phones: np.ndarray  # uint8 (n100,): class heard at k / 100 s, 0 is silence
    voice: str = ""  # empty where nobody speaks


@dataclass(frozen=True)
class CorpusConfig:
    seed: int = 1
    split: str = "train"
    shard_minutes: float = 5.0
    clip_s: tuple[float, float] = (4.0, 12.0)
    pause_s: tuple[float, float] = (0.2, 1.5)
    speechless: float = 0.06  # clips without anybody
    sung: float = 0.10  # of the others, those that are sung from end to end
    whispered: float = 0.08
    laughing: float = 0.06  # of the pauses, those with laughter in them
    disturbed: float = 0.10  # of the pauses, those with a sound in them that is not of the mouth


def track_loudness(pcm_16k: np.ndarray, n: int) -> np.ndarray:
    """RMS of the 30 ms around each of the n moments of a track."""
    power = np.concatenate([[0.0], np.cumsum(np.square(pcm_16k, dtype=np.float64))])
    at = np.arange(n) * _HOP
    first, last = np.clip(at - 240, 0, len(pcm_16k)), np.clip(at + 240, 0, len(pcm_16k))
    return np.sqrt((power[last] - power[first]) / np.maximum(last - first, 1))


def phone_track(phones: tuple[Timed, ...] | list[Timed], n: int) -> np.ndarray:
    """Class heard at each of the n moments of a track."""
    ids = np.zeros(n, np.uint8)
    for name, start_s, end_s in phones:
        ids[int(np.ceil(start_s * TRACK_HZ - 1e-6)) : int(np.ceil(end_s * TRACK_HZ - 1e-6))] = PHONE_ID[name]
    return ids


def clip_of(pcm_16k: np.ndarray, phones: list[Timed], voice: str) -> Clip:
    """The clip of a sound and its phones, mouth included."""
    n = len(pcm_16k) // _HOP
    mouth = mouth_track(phones, n / TRACK_HZ, TRACK_HZ, track_loudness(pcm_16k, n))
    return Clip(pcm_16k[: n * _HOP], mouth, phone_track(phones, n), voice)


def trimmed(said: Utterance, keep_s: float = 0.08) -> Utterance:
    """The utterance with no more silence at its ends than that."""
    spoken = [(start, end) for name, start, end in said.phonemes if name != "sil"]
    if not spoken:
        return said
    first = int(max(spoken[0][0] - keep_s, 0) * RATE)
    last = int((spoken[-1][1] + keep_s) * RATE)
    phonemes = tuple((name, start - first / RATE, end - first / RATE) for name, start, end in said.phonemes)
    pcm = said.pcm_16k[first:last]
    return Utterance(pcm, tidy(list(phonemes), len(pcm) / RATE), said.voice)


def cut_off(clip: Clip, at: int) -> Clip:
    """The clip when its sound breaks off at that moment, as when somebody interrupts: the mouth falls shut at once."""
    pcm, mouth, phones = clip.pcm_16k.copy(), clip.mouth.copy(), clip.phones.copy()
    pcm[at * _HOP :] = 0
    phones[at:] = 0
    since_s = (np.arange(len(mouth)) - at) / TRACK_HZ
    mouth *= 1 - minimum_jerk((since_s - CUT_CLOSING_S[0]) / (CUT_CLOSING_S[1] - CUT_CLOSING_S[0]))[:, None]
    return Clip(pcm, mouth.astype(np.float32), phones, clip.voice)


def begun_at(clip: Clip, at: int) -> Clip:
    """The clip after so much silence, as long as before."""

    def later(track: np.ndarray, by: int) -> np.ndarray:
        return np.concatenate((np.zeros_like(track[:by]), track[: len(track) - by]))

    return Clip(later(clip.pcm_16k, at * _HOP), later(clip.mouth, at), later(clip.phones, at), clip.voice)


def make_clip(rng: np.random.Generator, config: CorpusConfig) -> Clip:
    """One clip: silence, sentences of one voice with pauses, silence; or, rarely, no speech at all."""
    wanted_s = rng.uniform(*config.clip_s)
    if rng.random() < config.speechless:
        n = int(wanted_s * RATE) // _HOP * _HOP
        sound = sounds.any_sound(n, rng) * SPEECH_RMS * rng.uniform(0.1, 1.0)
        return clip_of(np.clip(sound, -1, 1).astype(np.float32), [], "")
    voice = draw_voice(rng, config.split)
    how = rng.random()
    manner = sung if how < config.sung else whispered if how < config.sung + config.whispered else None
    level = SPEECH_RMS * (rng.uniform(0.3, 1.0) if manner is whispered else 1.0)
    lines = sentences(rng, voice.language, config.split)
    pieces: list[np.ndarray] = []
    phones: list[Timed] = []
    at = 0

    def say(pcm: np.ndarray, spoken: Sequence[Timed] = ()) -> None:
        nonlocal at
        phones.extend((name, start + at / RATE, end + at / RATE) for name, start, end in spoken if name != "sil")
        pieces.append(pcm)
        at += len(pcm)

    def pause(seconds: float) -> None:
        samples = int(seconds * RATE)
        disturbed = samples > 0.3 * RATE and rng.random() < config.disturbed
        say(sounds.any_sound(samples, rng) * level * rng.uniform(0.1, 1.0) if disturbed else np.zeros(samples, np.float32))

    pause(rng.uniform(0.05, 0.8))
    for _ in range(12):
        said = trimmed(synthesise(next(lines), voice, rng))
        said = manner(said, rng) if manner else said
        if said.duration_s > (wanted_s if phones else config.clip_s[1]) - at / RATE:
            continue  # another sentence may be shorter
        say(said.pcm_16k * (level / speech_level(said.pcm_16k)) * rng.uniform(0.8, 1.2), said.phonemes)
        if at / RATE > wanted_s - 1.0:
            break
        pause(np.exp(rng.uniform(*np.log(config.pause_s))))
        if rng.random() < config.laughing:
            laugh, spoken = laughter(rng)
            say(laugh * level * rng.uniform(0.4, 1.2), spoken)
            pause(rng.uniform(0.3, 0.6))
    pause(rng.uniform(0.2, 1.0))
    return clip_of(np.clip(np.concatenate(pieces), -1, 1), phones, voice.name)


def build(out: Path, minutes: float, config: CorpusConfig) -> None:
    """Write shards until there are that many minutes; shards already there are kept."""
    out.mkdir(parents=True, exist_ok=True)
    about = json.loads(json.dumps({"format": _FORMAT, "recipe": _RECIPE} | asdict(config)))
    manifest = out / "corpus.json"
    if manifest.exists():
        found = json.loads(manifest.read_text())
        if any(found.get(key) != value for key, value in about.items()):
            raise ValueError(f"{out} holds another corpus ({found}); choose another folder or remove it")
    about |= {"rate": RATE, "track_hz": TRACK_HZ, "channels": CHANNELS, "phones": PHONES, "voices": VOICE_NAMES}
    manifest.write_text(json.dumps(about, indent=1) + "\n")
    for shard in range(int(np.ceil(minutes / config.shard_minutes - 1e-9))):
        path = out / f"shard-{shard:04d}.npz"
        shard_minutes = min(config.shard_minutes, minutes - shard * config.shard_minutes)
        if not path.exists() or _minutes(path) < shard_minutes:  # a shorter corpus ended in this shard
            # eSpeak NG's sound depends a little on what its process said before, so each shard gets a fresh one.
            worker = get_context("spawn").Process(target=_write_shard, args=(path, shard, shard_minutes, config))
            worker.start()
            worker.join()
            if worker.exitcode != 0:
                raise RuntimeError(f"making {path} failed: its error is printed above")


def _minutes(shard: Path) -> float:
    with np.load(shard) as arrays:
        return int(arrays["lengths"].sum()) / TRACK_HZ / 60


def _write_shard(path: Path, shard: int, minutes: float, config: CorpusConfig) -> None:
    rng = np.random.default_rng([config.seed, config.split == "test", shard])
    clips: list[Clip] = []
    total = 0
    while total < minutes * 60 * RATE:
        clips.append(make_clip(rng, config))
        total += len(clips[-1].pcm_16k)
    partial = path.with_suffix(".part")
    with open(partial, "wb") as file:
        np.savez(
            file,
            pcm_16k=np.concatenate([np.round(c.pcm_16k * 32767).astype(np.int16) for c in clips]),
            mouth=np.concatenate([c.mouth.astype(np.float16) for c in clips]),
            phones=np.concatenate([c.phones for c in clips]),
            lengths=np.array([len(c.phones) for c in clips], np.int32),  # in moments of the track
            voices=np.array([VOICE_ID.get(c.voice, _NO_VOICE) for c in clips], np.uint16),
        )
    os.replace(partial, path)


class Corpus:
    """All clips in memory, given out whole or as random pieces with the sound augmented on the fly."""

    def __init__(self, path: str | Path, config: AugmentConfig | None = None):
        shards = sorted(Path(path).glob("shard-*.npz"))
        if not shards:
            raise FileNotFoundError(f"no corpus in {path}: make one with python -m model.train.speech --out {path}")
        self.config = config or AugmentConfig()
        self.names: list[str] = json.loads((Path(path) / "corpus.json").read_text())["voices"]
        loaded = [dict(np.load(shard)) for shard in shards]
        keys = ("pcm_16k", "mouth", "phones", "lengths", "voices")
        self._pcm, self._mouth, self._phones, lengths, self._voices = (
            np.concatenate([shard[key] for shard in loaded]) for key in keys
        )
        self._starts = np.concatenate([[0], np.cumsum(lengths)])

    def __len__(self) -> int:
        return len(self._voices)

    @property
    def duration_s(self) -> float:
        return len(self._phones) / TRACK_HZ

    def clip(self, i: int) -> Clip:
        """Clip i, whole and clean."""
        return self._piece(int(self._starts[i]), int(self._starts[i + 1]), self._voice(i))

    def sample(self, rng: np.random.Generator, seconds: float, augmented: bool = True) -> Clip:
        """A random piece, each moment of the corpus as likely as another; longer than a clip runs on into silence."""
        n = round(seconds * TRACK_HZ)
        stretch = draw_stretch(rng, self.config) if augmented else 1.0
        source_n = int(np.ceil(n / stretch)) + 1
        i = int(np.searchsorted(self._starts, rng.integers(self._starts[-1]), "right")) - 1
        first, last = int(self._starts[i]), int(self._starts[i + 1])
        at = int(rng.integers(first, max(last - source_n, first) + 1))
        clip = self._piece(at, min(at + source_n, last), self._voice(i), source_n)
        if not augmented:
            return Clip(clip.pcm_16k[: n * _HOP], clip.mouth[:n], clip.phones[:n], clip.voice)
        babble = self._babble(rng, n * _HOP * 2) if rng.random() < self.config.noise * self.config.babble * 2 else None
        made = augment(clip.pcm_16k, rng, self.config, stretch=stretch, speech_rms=SPEECH_RMS, babble=babble)
        moments = np.arange(n) / stretch  # where each new moment lay in the old track
        mouth = np.stack([np.interp(moments, np.arange(source_n), clip.mouth[:, c]) for c in range(4)], 1)
        return Clip(
            made.pcm_16k[: n * _HOP],
            mouth.astype(np.float32),
            clip.phones[np.minimum(moments.astype(int), source_n - 1)],
            clip.voice,
        )

    def _voice(self, i: int) -> str:
        return "" if self._voices[i] == _NO_VOICE else self.names[self._voices[i]]

    def _piece(self, first: int, last: int, voice: str, padded_to: int = 0) -> Clip:
        missing = max(padded_to - (last - first), 0)
        pcm = self._pcm[first * _HOP : last * _HOP].astype(np.float32) / 32767
        mouth = self._mouth[first:last].astype(np.float32)
        return Clip(
            np.pad(pcm, (0, missing * _HOP)),
            np.pad(mouth, ((0, missing), (0, 0))),
            np.pad(self._phones[first:last], (0, missing)),
            voice,
        )

    def _babble(self, rng: np.random.Generator, samples: int) -> np.ndarray:
        samples = min(samples, len(self._pcm))
        voices = [rng.integers(0, len(self._pcm) - samples + 1) for _ in range(4)]
        return sum(self._pcm[at : at + samples].astype(np.float32) for at in voices) / 32767


def describe(corpus: Corpus) -> str:
    """Figures of a corpus for the eye."""
    counts = Counter(corpus._phones.tolist())
    total = sum(counts.values())
    speaking = corpus._phones > 0
    lines = [f"{len(corpus)} clips, {corpus.duration_s / 60:.1f} min, {speaking.mean():.0%} speech"]
    for c, channel in enumerate(CHANNELS):
        values = corpus._mouth[speaking, c].astype(np.float32)
        cuts = " ".join(f"{v:5.2f}" for v in np.quantile(values, [0, 0.1, 0.25, 0.5, 0.75, 0.9, 1]))
        lines.append(f"{channel:6s} in speech, quantiles 0 10 25 50 75 90 100: {cuts}")
    shares = (f"{PHONES[i]}:{1000 * count / total:.0f}" for i, count in counts.most_common())
    lines.append("phones, permille: " + " ".join(shares))
    return "\n".join(lines)


@dataclass(frozen=True)
class Recipe:
    out: Path
    minutes: float
    seed: int
    split: str  # "train", or "test": other voices and sentences


def main() -> None:
    recipe = from_command_line(Recipe, "speech", __doc__)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    had = sum(map(_minutes, recipe.out.glob("shard-*.npz")))
    began_s = time.perf_counter()
    build(recipe.out, recipe.minutes, CorpusConfig(seed=recipe.seed, split=recipe.split))
    took_s, corpus = time.perf_counter() - began_s, Corpus(recipe.out)
    logging.info(describe(corpus))
    minutes = corpus.duration_s / 60
    if minutes > had or not (recipe.out / "scores.json").exists():
        figures = {"minutes": minutes, "clips": len(corpus), "share of speech": float((corpus._phones > 0).mean())}
        took = {"seconds a minute": took_s / (minutes - had)} if minutes > had else {}
        write_scores(recipe.out, figures, took)


if __name__ == "__main__":
    main()
