"""How well does the embedded preset talk? Scores its streaming path against the drawn world's truth.

    python -m model.evaluate --speech runs/speech_test --out runs/scores [--quick] [--hour 60]

Voices, sentences and most of the people are ones it was never trained on. Instruments that know true pictures read what it
shows; beside every score stands what they read off the true pictures themselves, and what lips would reach that follow
loudness alone. Writes scores.json, scores.md and scores.html, with a mark for every threshold.
"""

import argparse
import logging
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from model.evaluation import plots, report, sheets
from model.evaluation.hour import long_session
from model.evaluation.jaw import Jaw
from model.evaluation.page import write_page
from model.evaluation.people import CAST, STRANGERS, admit, cast, pairs, strangers
from model.evaluation.readers import Effort, EmotionReader, Readers
from model.evaluation.rows import HOUR, Material, rows
from model.evaluation.takes import Stage, emotion_take, mouth_of, pair_take, pcm_of, speech_take
from model.generator import Generator
from model.loading import load
from model.machine import hardware
from model.train import sounds
from model.train.augment import CLEAN, SPEECH_RMS
from model.train.phones import PHONE_ID
from model.train.speech import TRACK_HZ, Clip, Corpus
from model.world.cast import CHARACTERS

log = logging.getLogger("model.evaluate")

SPOKEN = 0.4  # least share of a piece of speech in which somebody speaks
GROUPS = (STRANGERS, CAST)


@dataclass(frozen=True)
class Plan:
    """How much is filmed: people, and seconds of each."""

    strangers: int = 18
    shipped: int = 11
    pairs: int = 3  # of strangers
    speech_s: float = 8.0
    sound_s: float = 4.0
    felt: int = 9  # strangers who feel; of the cast half as many
    felt_s: float = 2.4
    pair_s: float = 14.0
    jaw_pieces: int = 60
    hour: int = 0  # minutes
    minute_s: float = 60.0  # of that session
    effort: Effort = Effort()


QUICK = Plan(
    strangers=6, shipped=2, pairs=1, speech_s=6.0, sound_s=2.0, felt=2, felt_s=1.6, pair_s=4.0,
    effort=Effort(pictures=90, steps=700, felt_pictures=150, felt_steps=450),
)  # fmt: skip


class Evaluation:
    """Films and measures everybody of a plan."""

    def __init__(self, generator: Generator, corpus: Corpus, plan: Plan, folder: Path, seed: int = 11) -> None:
        self._generator, self._corpus, self._plan, self._rng = generator, corpus, plan, np.random.default_rng(seed)
        known = [name for name in generator.characters if all(who in CHARACTERS for who in name.split("_"))]
        shipped = cast(known)
        alone = [sitters for sitters in shipped if len(sitters.scene.people) == 1][: plan.shipped]
        together = [sitters for sitters in shipped if len(sitters.scene.people) == 2]
        self.alone = {STRANGERS: strangers(plan.strangers), CAST: alone}
        self.together = {STRANGERS: pairs(plan.pairs), CAST: together}
        for sitters in (*self.alone[STRANGERS], *self.together[STRANGERS]):
            admit(generator, sitters, folder)
        everybody = [sitters for group in GROUPS for sitters in (*self.alone[group], *self.together[group])]
        log.info("teaching the instruments with %d scenes", len(everybody))
        readers = Readers(generator, everybody, plan.effort, seed)
        pieces = (corpus.sample(self._rng, plan.speech_s, augmented=False) for _ in range(plan.jaw_pieces))
        self._stage = Stage(generator, readers, Jaw((pcm_of(piece), mouth_of(piece)) for piece in pieces))
        self._feel = {STRANGERS: self.alone[STRANGERS][::2][: plan.felt], CAST: alone[: (plan.felt + 1) // 2]}
        names = generator.info["emotions"]
        feelers = [sitters for group in GROUPS for sitters in self._feel[group]]
        self._emotions = EmotionReader(generator, readers, feelers, names, plan.effort, seed) if names else None

    def material(self, group: str) -> Material:
        """Everything about one group of people."""
        plan, stage, alone = self._plan, self._stage, self.alone[group]
        log.info("%s: speech", group)
        speech = [speech_take(stage, one, self._speech(plan.speech_s), seed) for seed, one in enumerate(alone, 21)]
        log.info("%s: other sounds", group)
        kinds = self._sounds()
        other = [
            speech_take(stage, alone[place % len(alone)], clip, 61 + place, kind)
            for place, (kind, clip) in enumerate(kinds if alone else ())
        ]
        log.info("%s: emotions", group)
        felt = [
            emotion_take(stage, self._emotions, one, self._speech(plan.felt_s), name, 31)
            for one in (self._feel[group] if self._emotions else ())
            for name in self._emotions.names
        ]
        log.info("%s: two people", group)
        duets = [
            pair_take(stage, pair, self._speech(plan.pair_s), speaker, 41 + speaker)
            for pair in self.together[group]
            for speaker in (0, 1)
        ]
        return Material(speech, other, felt, duets)

    def hour(self) -> list[dict[str, float]]:
        """One session of so many minutes, of a stranger where there is one."""
        who = next(iter(self.alone[STRANGERS] or self.alone[CAST]))
        return long_session(self._stage, who, self._corpus, self._plan.hour, self._rng, 51, self._plan.minute_s)

    def _speech(self, seconds: float) -> Clip:
        """A piece of the corpus in which somebody speaks."""
        while True:
            clip = self._corpus.sample(self._rng, seconds, augmented=False)
            if (clip.phones != PHONE_ID["sil"]).mean() > SPOKEN:
                return clip

    def _sounds(self) -> Iterator[tuple[str, Clip]]:
        """A piece of silence and one of every kind of sound that moves no mouth, with their names."""
        moments = round(self._plan.sound_s * TRACK_HZ)
        samples = moments * sounds.RATE // TRACK_HZ
        still = np.zeros((moments, 4), np.float32), np.zeros(moments, np.uint8)
        yield "silence", Clip(np.zeros(samples, np.float32), *still)
        for kind in sounds.KINDS:
            pcm = kind(samples, self._rng) * SPEECH_RMS * self._rng.uniform(0.3, 1.0)
            yield sound_name(kind), Clip(np.clip(pcm, -1, 1).astype(np.float32), *still)


def sound_name(kind) -> str:
    return "noise" if kind.__name__ == "<lambda>" else kind.__name__.replace("_", " ")


def time_to_generate(generator: Generator, character: str, chunks: int = 60) -> tuple[float, float]:
    """Of a chunk, against the time that it lasts: on a core of its own (the process's time, for one thread), and by the
    clock while the machine does what else it does."""
    silence = np.zeros((len(generator.characters[character].faces), generator.preset.audio.window_samples), np.float32)
    state, own, clock = generator.open(character, 1), [], []
    for _ in range(chunks):
        began_own, began = time.process_time(), time.perf_counter()
        _, (state,) = generator.step([state], [silence])
        own.append(time.process_time() - began_own)
        clock.append(time.perf_counter() - began)
    lasts_s = generator.preset.audio.frames_per_chunk / generator.preset.fps
    return statistics.median(own[5:]) / lasts_s, statistics.median(clock[5:]) / lasts_s


def evaluate(generator: Generator, corpus: Corpus, plan: Plan, folder: Path) -> list[report.Line]:
    """Writes scores.json, scores.md and scores.html into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    evaluation = Evaluation(generator, corpus, plan, folder / "people")
    groups = {group: evaluation.material(group) for group in GROUPS if evaluation.alone[group]}
    own, clock = time_to_generate(generator, next(iter(generator.characters)))
    hour = evaluation.hour() if plan.hour else []
    groups = {group: replace(material, generation=own, hour=hour) for group, material in groups.items()}
    scored = rows(list(dict.fromkeys(map(sound_name, sounds.KINDS))))
    lines = report.lines_of(scored, groups)
    kinds = report.by_kind(scored, split_by_kind(groups[STRANGERS])) if STRANGERS in groups else []
    machine = "{processor}, one core of {cores}".format_map(hardware())
    about = {
        "people": f"{len(evaluation.alone[STRANGERS])} strangers and {len(evaluation.alone[CAST])} of the cast alone, "
        f"{sum(map(len, evaluation.together.values()))} pairs; what counts is what strangers reach",
        "speech": f"{sum(len(t.mouth) for m in groups.values() for t in m.speech) / 25:.0f} s of voices and sentences that "
        f"were kept out of training",
        "generation": f"{own:.2f} of real time on {machine} ({clock:.2f} by the clock, beside what else ran), "
        f"{str(generator.dtype).removeprefix('torch.')}, {torch.get_num_threads()} thread",
        "marks": ", ".join(f"{sum(line.mark == mark for line in lines)} {mark}" for mark in plots.MARKS),
    }
    report.write_scores(folder, about, lines, kinds)
    about["made in"] = f"{time.monotonic() - began:.0f} s"
    write_page(folder / "scores.html", about, lines, kinds, pictures_of(groups, lines))
    return lines


def split_by_kind(material: Material) -> dict[str, Material]:
    """The speech of strangers, by style and by species."""
    kinds: dict[str, list] = defaultdict(list)
    for take in material.speech:
        for word in take.sitters.kind.split():
            kinds[word].append(take)
    return {kind: Material(speech=takes) for kind, takes in sorted(kinds.items())}


def pictures_of(groups: dict[str, Material], lines: Sequence[report.Line]) -> dict[str, Figure | Image.Image]:
    """Plots and sheets, by title."""
    every = [material for material in groups.values()]
    speech = [take for material in every for take in material.speech]
    felt = [one for material in every for one in material.felt]
    duets = [one for material in every for one in material.duets]
    told = [take for material in every for take in material.speech[: max(2, 6 // len(every))]]
    pictures = {"Scores against their thresholds": plots.bars(lines), "The mouth over time": plots.openings(told)}
    pictures["Early or late"] = plots.lags(speech)
    if hour := every[0].hour:
        pictures["A long session"] = plots.long_session(hour, HOUR)
    pictures["Speech: generated above, true below"] = sheets.strips(speech)
    if felt:
        pictures["Emotions"] = sheets.emotions(felt)
    if duets:
        pictures["Two people, one of whom speaks: generated above, true below"] = sheets.strips(duets)
    return pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=Path("runs/speech_test"))
    parser.add_argument("--out", type=Path, default=Path("runs/scores"))
    parser.add_argument("--quick", action="store_true", help="fewer people, shorter: a first impression")
    parser.add_argument("--hour", type=int, default=0, metavar="MINUTES", help="also one session of so many minutes")
    parser.add_argument("--preset", default="embedded")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    plan = replace(QUICK if options.quick else Plan(), hour=options.hour)
    lines = evaluate(load(options.preset, options.threads), Corpus(options.speech, CLEAN), plan, options.out)
    for line in lines:
        log.info("%-52s %-14s %-8s %s", line.row.name, report.number(line.value), line.mark, report.limits(line.row.reach))
    log.info("see %s", options.out / "scores.html")


if __name__ == "__main__":
    main()
