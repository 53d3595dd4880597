"""The arithmetic of the scores, on series whose answer is known."""

import numpy as np
import pytest

from model.evaluation import report, rows, series
from model.evaluation.jaw import Jaw
from model.evaluation.people import CAST, STRANGERS, Sitters, strangers
from model.evaluation.rows import Material
from model.evaluation.takes import JAW, MADE, PASSED, TRUE, Seen, Take
from model.world.look import Look
from model.world.scene import Scene

FRAMES = 400


def mouth(seed: int) -> np.ndarray:
    """Something like speech, f 4: smooth, with a pause in the middle."""
    rng = np.random.default_rng(seed)
    knots = rng.uniform(0, 1, (FRAMES // 4 + 1, 4))
    smooth = np.stack([np.interp(np.arange(FRAMES) / 4, np.arange(len(knots)), knots[:, i]) for i in range(4)], 1)
    smooth[180:220] = 0
    return smooth


def take(shown: np.ndarray, true: np.ndarray, loud: np.ndarray | None = None, sound: str = "speech") -> Take:
    """As if the instruments had read `shown` off generated frames."""
    level = np.random.default_rng(5).normal(size=len(true)) if loud is None else loud
    speaking, phones = np.abs(true).max(1) > 0, np.zeros((len(true), 4), bool)
    lids, head = np.zeros(len(true)), np.random.default_rng(6).normal(size=(len(true), 3))
    sides = {MADE: Seen(shown, lids, head, 1e-3, 9.0), TRUE: Seen(true, lids, head, 0.0, 10.0)}
    sides |= {PASSED: sides[TRUE], JAW: Seen(np.repeat(level[:, None], 4, 1))}
    blank = np.zeros((0, 8, 8, 3), np.uint8)
    return Take(Sitters("x", STRANGERS, Scene((Look(),))), sound, true, level, speaking, phones, sides, (blank, blank))


def table(material: Material) -> dict[str, report.Line]:
    return {line.row.name: line for line in report.lines_of(rows.rows(["music"]), {STRANGERS: material})}


def test_a_perfect_mouth_scores_one_and_is_in_time():
    lines = table(Material(speech=[take(mouth(seed), mouth(seed)) for seed in (1, 2)]))
    for name in ("lip opening, pauses counted", "lip opening inside speech", "lip opening inside speech, beyond loudness",
                 "lip width beyond opening", "lip rounding beyond opening"):  # fmt: skip
        assert lines[name].value == pytest.approx(1) and lines[name].mark == "goal"
    assert lines["lag of the mouth behind the sound"].value == pytest.approx(0, abs=1)
    assert lines["mouth motion in silence against speech"].value == 0
    assert lines["picture against the true one"].value == pytest.approx(30)
    assert lines["sharpness against the true picture"].value == pytest.approx(90)


def test_a_still_mouth_scores_nothing():
    lines = table(Material(speech=[take(np.zeros((FRAMES, 4)), mouth(1))]))
    assert lines["lip opening, pauses counted"].value == 0 and lines["lip opening, pauses counted"].mark == "missed"


@pytest.mark.parametrize("frames", [-3, 1, 2])
def test_the_lag_of_a_late_or_early_mouth_is_found(frames):
    true = [mouth(seed)[:, 0] for seed in (1, 2)]
    made = [np.roll(opening, frames) for opening in true]
    assert series.lag_ms(made, true) == pytest.approx(40 * frames, abs=6)


def test_a_lag_between_two_frames_is_found():
    fine = np.interp(np.arange(0, FRAMES, 0.5), np.arange(FRAMES), mouth(3)[:, 0])
    assert series.lag_ms([fine[0:-2:2]], [fine[1:-1:2]]) == pytest.approx(20, abs=6)


def test_the_lags_of_one_take_do_not_reach_into_the_next():
    first, second = np.zeros(50), np.zeros(50)
    first[-1] = second[0] = 1
    assert series.at_lags([first, second], [second, first])[series.MAX_LAG + 1] < 0.1


def test_what_follows_loudness_alone_is_worth_nothing_beyond_it():
    true, loud = mouth(1), mouth(1)[:, 0] + 0.3 * np.random.default_rng(2).normal(size=FRAMES)
    material = Material(speech=[take(true, true, loud)])
    assert rows.opening_inside(material, JAW) > 0.4
    assert abs(rows.opening_beyond_loudness(material, JAW)) < 1e-6
    assert rows.opening_beyond_loudness(material, MADE) == pytest.approx(1)


def closing(opening: list[float], heard: list[int]) -> list[list[int]]:
    phones = np.zeros((len(opening), 4), bool)
    phones[heard] = True
    return [event.tolist() for event in series.closures(np.array(opening), phones)]


def test_closures_lie_between_two_openings_near_their_sound():
    assert closing([0.5, 0.5, 0.0, 0.0, 0.5, 0.5], [2, 3]) == [[2, 3]]
    assert closing([0.5, 0.5, 0.0, 0.5, 0.5], [1]) == [[2]]  # the lips may be a picture late
    assert closing([0.5, 0.0, 0.5, 0.5, 0.5], [4]) == []  # no sound near it
    assert closing([0.0, 0.0, 0.0, 0.5, 0.5], [1]) == []  # speech only begins
    assert closing([0.5, 0.5, 0.15, 0.5, 0.5], [2]) == []  # no picture shows it shut
    assert closing([0.5, 0.0, 0.0, 0.5, 0.0, 0.5], [1, 2, 4]) == [[1, 2], [4]]


def test_a_closure_is_seen_within_a_picture_of_the_truth():
    true, event = np.array([0.5, 0.5, 0.5, 0.0, 0.5, 0.5, 0.5]), np.array([3])
    assert [series.seen(np.roll(true, by), event) for by in (-2, -1, 0, 1, 2)] == [False, True, True, True, False]
    assert not series.seen(np.maximum(true, 0.12), event)  # never shut
    assert not series.seen(0 * true, event)  # never open


def test_motion_counts_only_where_both_ends_count():
    jump = np.array([0.0] * 10 + [1.0] * 10)
    still = np.arange(20) < 10
    assert series.motion([jump], [still]) == 0
    assert series.motion([jump], [np.ones(20, bool)]) == pytest.approx(3 / 17)
    assert np.isnan(series.motion([jump], [np.zeros(20, bool)]))


def test_sounds_that_move_the_mouth_are_told_by_kind():
    still, moved = np.zeros((FRAMES, 4)), 0.5 * mouth(7)
    material = Material(
        [take(mouth(1), mouth(1))], [take(moved, still, sound="music"), take(still, still, sound="silence")]
    )
    lines = table(material)
    assert lines["mouth motion: music"].value > 20 and lines["mouth motion in music and other sounds"].mark == "missed"
    assert lines["mouth motion in silence against speech"].mark == "goal"


def test_blinks_are_counted_once_each():
    lids = np.array([0, 0.2, 0.7, 1, 0.6, 0.4, 0.6, 0.1, 0, 0.9, 0.1, 0.4, 0.1])
    assert series.blinks(lids) == 2


def test_a_livelier_head_has_more_energy():
    turns = np.cumsum(np.random.default_rng(1).normal(size=(200, 3)), 0)
    assert series.energy(2 * turns) == pytest.approx(4 * series.energy(turns))


def test_the_jaw_finds_the_line_between_level_and_opening():
    rng = np.random.default_rng(4)
    loud = np.repeat(rng.uniform(0.01, 0.3, 50), 640)
    pcm = (loud * np.sign(rng.normal(size=loud.size))).astype(np.float32)
    opening = 0.6 + 0.25 * Jaw.level(pcm)
    true = np.stack((opening, 0 * opening, 0 * opening, 0 * opening), 1)
    read = Jaw([(pcm, true)]).lips(Jaw.level(pcm))
    assert np.allclose(read[:, 0], np.clip(opening, 0, 1), atol=1e-6) and not read[:, 1:].any()


def test_marks_are_goal_reached_or_missed():
    row = rows.Row("x", rows.lag, **rows.within(20, 10))
    assert [row.mark(value) for value in (-9, 15, -21, float("nan"))] == ["goal", "reached", "missed", ""]


def test_strangers_are_what_counts_and_the_cast_stands_beside():
    good, bad = (Material(speech=[take(shown, mouth(1))]) for shown in (mouth(1), mouth(2)))
    lines = report.lines_of(rows.rows([]), {STRANGERS: bad, CAST: good})
    assert lines[0].mark == "missed" and lines[0].values[CAST][MADE] == pytest.approx(1)


def test_strangers_are_of_every_kind_and_always_the_same():
    people = strangers(18)
    assert len({sitters.kind for sitters in people}) == 18
    assert [sitters.scene for sitters in people] == [sitters.scene for sitters in strangers(18)]
