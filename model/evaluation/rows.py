"""What is scored, how each score is reached from takes, and what it must reach. Films nothing, draws nothing.

A score is asked for a group of people and for a side: what was generated, or what it is compared with (the true pictures,
as the instruments read them; these through the autoencoder; a jaw that follows loudness). nan where it does not apply.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from model.evaluation import series
from model.evaluation.colour import PARTS
from model.evaluation.takes import EYES_IN_PLACE, JAW, MADE, PASSED, TRUE, Duet, Felt, Take
from model.train.sheets import decibels

SIDES = (MADE, JAW, TRUE, PASSED)
NAN = float("nan")
MINUTE_FRAMES = 1500


@dataclass(frozen=True)
class Material:
    """All that was filmed of a group of people."""

    speech: list[Take] = field(default_factory=list)
    sounds: list[Take] = field(default_factory=list)  # that move no mouth, silence among them
    felt: list[Felt] = field(default_factory=list)
    duets: list[Duet] = field(default_factory=list)
    hour: list[dict[str, float]] = field(default_factory=list)  # minutes of one session, from the first to the last
    generation: float = NAN  # time on one core against real time


Measure = Callable[[Material, str], float]


@dataclass(frozen=True)
class Row:
    """A score. It is reached between the two limits of `reach`; without limits it is told for information."""

    name: str
    measure: Measure
    reach: tuple[float, float] | None = None
    goal: tuple[float, float] | None = None
    unit: str = ""

    def mark(self, value: float) -> str:
        if self.reach is None or np.isnan(value):
            return ""
        if self.goal[0] <= value <= self.goal[1]:
            return "goal"
        return "reached" if self.reach[0] <= value <= self.reach[1] else "missed"


def at_least(reach: float, goal: float) -> dict[str, tuple[float, float]]:
    return {"reach": (reach, np.inf), "goal": (goal, np.inf)}


def at_most(reach: float, goal: float) -> dict[str, tuple[float, float]]:
    return {"reach": (-np.inf, reach), "goal": (-np.inf, goal)}


def within(reach: float, goal: float) -> dict[str, tuple[float, float]]:
    return {"reach": (-reach, reach), "goal": (-goal, goal)}


def per_cent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else NAN


# --- lips ------------------------------------------------------------------------------------------------------------


def _together(takes: Sequence[Take], side: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lips as shown f 4, true ones f 4, level f and whether somebody speaks f, of all takes one after another."""
    shown = [take.seen[side].lips for take in takes]
    parts = (shown, [t.mouth for t in takes], [t.level for t in takes], [t.speaking for t in takes])
    return tuple(np.concatenate(part) for part in parts)


def opening(material: Material, side: str) -> float:
    shown, true, _, _ = _together(material.speech, side)
    return series.correlation(shown[:, 0], true[:, 0])


def opening_inside(material: Material, side: str) -> float:
    shown, true, _, inside = _together(material.speech, side)
    return series.correlation(shown[inside, 0], true[inside, 0])


def opening_beyond_loudness(material: Material, side: str) -> float:
    """Of what a straight line from the level leaves of both."""
    shown, true, level, inside = _together(material.speech, side)
    left = (series.without(lips[inside, 0], level[inside]) for lips in (shown, true))
    return series.correlation(*left)


def beyond_opening(channel: int) -> Measure:
    """Of what a straight line from the opening leaves of width or rounding, inside speech."""

    def measure(material: Material, side: str) -> float:
        shown, true, _, inside = _together(material.speech, side)
        left = (series.without(lips[inside, channel], lips[inside, 0]) for lips in (shown, true))
        return series.correlation(*left)

    return measure


def _openings(takes: Sequence[Take], side: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [take.seen[side].lips[:, 0] for take in takes], [take.mouth[:, 0] for take in takes]


def lag(material: Material, side: str) -> float:
    return series.lag_ms(*_openings(material.speech, side))


def _closures(take: Take) -> list[np.ndarray]:
    return series.closures(take.mouth[:, 0], take.lip_phones)


def closures_seen(material: Material, side: str) -> float:
    """Per cent of the closures (see series.closures) that one picture shows, no further than one from the truth."""
    hits = [series.seen(take.seen[side].lips[:, 0], event) for take in material.speech for event in _closures(take)]
    return 100 * float(np.mean(hits)) if hits else NAN


def closed_frames(material: Material, side: str) -> float:
    """The stricter count: per cent of the single frames in which the true lips are shut in a closure."""
    hits = [take.seen[side].lips[event, 0] < series.READS_SHUT for take in material.speech for event in _closures(take)]
    return 100 * float(np.concatenate(hits).mean()) if hits else NAN


def closure_count(material: Material, side: str) -> float:
    return float(sum(len(_closures(take)) for take in material.speech))


def falsely_shut(material: Material, side: str) -> float:
    """Per cent of the frames whose true lips are plainly open. A mouth that is always shut would see every closure."""
    shown, true, _, inside = _together(material.speech, side)
    opened = inside & (true[:, 0] > series.OPEN)
    return per_cent(float((shown[opened, 0] < series.READS_SHUT).sum()), float(opened.sum()))


def _speech_motion(material: Material, side: str) -> float:
    return series.motion(_openings(material.speech, side)[0], [take.speaking for take in material.speech])


def silence_motion(material: Material, side: str) -> float:
    """Per cent of the motion in speech, in pauses of speech and where nothing is heard."""
    takes = [*material.speech, *(take for take in material.sounds if take.sound == "silence")]
    return per_cent(
        series.motion(_openings(takes, side)[0], [take.quiet for take in takes]), _speech_motion(material, side)
    )


def sound_motion(kind: str | None) -> Measure:
    """Per cent of the motion in speech, while a kind of other sound is heard, or any of them."""

    def measure(material: Material, side: str) -> float:
        takes = [take for take in material.sounds if take.sound == kind or (kind is None and take.sound != "silence")]
        if not takes:
            return NAN
        still = series.motion(_openings(takes, side)[0], [take.quiet for take in takes])
        return per_cent(still, _speech_motion(material, side))

    return measure


# --- faces and pictures ----------------------------------------------------------------------------------------------


def emotion_seen(emotion: str | None) -> Measure:
    """Per cent of the frames; of all emotions the mean of each one's."""

    def measure(material: Material, side: str) -> float:
        names = dict.fromkeys(felt.emotion for felt in material.felt if emotion in (None, felt.emotion))
        if side == JAW or not names:
            return NAN
        return 100 * float(np.mean([np.mean([f.seen[side] for f in material.felt if f.emotion == e]) for e in names]))

    return measure


def colour_difference(part: str) -> Measure:
    def measure(material: Material, side: str) -> float:
        found = [t.seen[side].colours[part] for t in material.speech if part in t.seen[side].colours]
        return float(np.mean(found)) if found else NAN

    return measure


def sharpness(material: Material, side: str) -> float:
    """Per cent of the true pictures'."""
    return 100 * float(np.mean([take.seen[side].sharpness / take.seen[TRUE].sharpness for take in material.speech]))


def picture_db(material: Material, side: str) -> float:
    if side in (JAW, TRUE):
        return NAN
    return float(np.mean([decibels(take.seen[side].error) for take in material.speech]))


def blinks_a_minute(material: Material, side: str) -> float:
    if side == JAW:
        return NAN
    lids = [take.seen[side].blink for take in (*material.speech, *material.sounds)]
    return sum(map(series.blinks, lids)) * MINUTE_FRAMES / sum(map(len, lids))


def head_energy(material: Material, side: str) -> float:
    """Against what is read off the true pictures."""
    if side == JAW:
        return NAN
    takes = (*material.speech, *material.sounds)
    return sum(take.seen[side].energy for take in takes) / sum(take.seen[TRUE].energy for take in takes)


def silent_follows(material: Material, side: str) -> float:
    """How far the mouth of the one who listens goes with the other's sound, all pairs after another."""
    if side == JAW:
        return 0.0 if material.duets else NAN  # it hears nothing of its own
    silent = [duet.silent[side] - duet.silent[side].mean() for duet in material.duets]
    sound = [duet.mouth - duet.mouth.mean() for duet in material.duets]
    return series.correlation(np.concatenate(silent), np.concatenate(sound)) if silent else NAN


def silent_moves(material: Material, side: str) -> float:
    """Per cent of the motion of the one who speaks."""
    if side == JAW or not material.duets:
        return 0.0 if material.duets else NAN
    inside = [duet.speaking for duet in material.duets]
    silent, speaks = ([getattr(duet, who)[side] for duet in material.duets] for who in ("silent", "speaks"))
    return per_cent(series.motion(silent, inside), series.motion(speaks, inside))


def generation_time(material: Material, side: str) -> float:
    return material.generation if side == MADE else NAN


def drift(quantity: str) -> Measure:
    """Per cent by which the last minute differs from the first one."""

    def measure(material: Material, side: str) -> float:
        if side != MADE or len(material.hour) < 2:
            return NAN
        return 100 * (material.hour[-1][quantity] / material.hour[0][quantity] - 1)

    return measure


HOUR = {"lips": "opening", "colour": "Delta E", "sharpness": "sharpness", "picture": "PSNR"}
EMOTIONS = ("neutral", "happy", "sad", "angry", "surprised", "afraid")


def rows(sounds: Sequence[str]) -> list[Row]:
    """All rows, in the order of the table; `sounds` are the kinds that were played, silence left out."""
    return [
        Row("lip opening, pauses counted", opening, **at_least(0.85, 0.95)),
        Row("lip opening inside speech", opening_inside, **at_least(0.75, 0.9)),
        Row("lip opening inside speech, beyond loudness", opening_beyond_loudness, **at_least(0.65, 0.85)),
        Row("lip width beyond opening", beyond_opening(1), **at_least(0.5, 0.75)),
        Row("lip rounding beyond opening", beyond_opening(2), **at_least(0.5, 0.75)),
        Row("lag of the mouth behind the sound", lag, unit="ms", **within(20, 10)),
        Row("closures on p, b, m seen", closures_seen, unit="%", **at_least(85, 95)),
        Row("frames of closures seen shut", closed_frames, unit="%"),
        Row("closures in the sample", closure_count),
        Row("shut where the truth is open", falsely_shut, unit="%"),
        Row("mouth motion in silence against speech", silence_motion, unit="%", **at_most(8, 3)),
        Row("mouth motion in music and other sounds", sound_motion(None), unit="%", **at_most(8, 3)),
        *(Row(f"mouth motion: {kind}", sound_motion(kind), unit="%") for kind in sounds),
        Row("two people: silent mouth with the other's sound", silent_follows, **within(0.1, 0.05)),
        Row("two people: motion of the silent mouth", silent_moves, unit="%"),
        Row("emotion recognised", emotion_seen(None), unit="%", **at_least(90, 97)),
        *(Row(f"emotion recognised: {emotion}", emotion_seen(emotion), unit="%") for emotion in EMOTIONS),
        *(Row(f"colour of {part}, Delta E", colour_difference(part), **at_most(3, 1.5)) for part in PARTS),
        Row(f"colour of {EYES_IN_PLACE}, Delta E", colour_difference(EYES_IN_PLACE)),
        Row("sharpness against the true picture", sharpness, unit="%", **at_least(85, 95)),
        Row("picture against the true one", picture_db, unit="dB", **at_least(28, 32)),
        Row("blinks a minute", blinks_a_minute, reach=(8, 25), goal=(8, 25)),
        Row("head motion energy against the truth", head_energy, reach=(0.7, 1.3), goal=(0.7, 1.3)),
        Row("time to generate, one core, against real time", generation_time, **at_most(0.5, 0.3)),
        *(Row(f"after the hour: {name}", drift(quantity), unit="%", **within(3, 1)) for quantity, name in HOUR.items()),
    ]
