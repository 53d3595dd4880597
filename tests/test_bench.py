"""The benchmarks' own arithmetic: verdicts, reports, gaps, and when a mouth is at rest. No times of this machine."""

import os
import subprocess

import numpy as np
import pytest

from ops import processes
from ops.bench_live import Steadiness, steadiness, worst
from ops.bench_trouble import longest_gap_s
from ops.figures import Failure, Figure, Part, Report, markdown
from ops.listening import Listener, Sound
from ops.mouth import closed_below, closes_at


def report(machine: str = "this", **parts: Part) -> Report:
    return Report({"processor": machine}, parts)


def part(*figures: Figure, failure: Failure | None = None) -> Part:
    return Part("python -m ops.bench --only x", "2026-01-01 00:00 UTC", figures, failure)


@pytest.mark.parametrize(
    ("value", "verdict"), [(240.0, "goal reached"), (250.0, "goal reached"), (300.0, "kept"), (300.5, "MISSED")]
)
def test_a_figure_is_judged_by_budget_and_goal(value, verdict):
    assert Figure("delay", value, "ms", 300, 250).verdict == verdict


def test_a_budget_may_be_a_lower_bound():
    assert Figure("fps", 25.0, "", 25.0, at_least=True).verdict == "kept"
    assert Figure("fps", 24.9, "", 25.0, at_least=True).verdict == "MISSED"


def test_a_figure_without_a_budget_has_no_verdict():
    assert Figure("cache", 3.2, "times").row == ("cache", "3.2 times", "", "")


def test_a_report_survives_the_file():
    whole = report(live=part(Figure("fps", 25.0, "", 25.0, at_least=True)), soak=part(failure=Failure("no browser")))
    assert Report.from_json(whole.to_json()) == whole


def test_parts_that_were_not_measured_again_stay():
    older = report(live=part(Figure("fps", 24.0)), crash=part(Figure("gap", 1.0)))
    newer = report(live=part(Figure("fps", 25.0)))
    joined = older.joined(newer)
    assert joined.parts["live"].figures[0].value == 25.0
    assert joined.parts["crash"] == older.parts["crash"]


def test_a_dtype_chosen_otherwise_makes_no_other_machine():
    older = Report({"processor": "this", "dtype": "float32"}, {"live": part()})
    newer = Report({"processor": "this", "dtype": "bfloat16"}, {"crash": part()})
    assert older.joined(newer) == Report(newer.machine, {"live": part(), "crash": part()})


def test_figures_of_another_machine_do_not_stay():
    older = report("that", live=part(Figure("fps", 24.0)))
    assert older.joined(report("this", crash=part())).parts.keys() == {"crash"}


def test_markdown_names_the_command_and_marks_what_was_missed():
    text = markdown(report(live=part(Figure("fps", 20.0, "", 25.0, at_least=True), failure=Failure("it broke"))))
    assert "| **`python -m ops.bench --only x`** | | | |" in text
    assert "| fps | 20 | at least 25 | **MISSED** |" in text
    assert "not measured: it broke" in text


def test_figures_of_a_busy_machine_carry_a_warning():
    quiet, busy = (Part("x", "now", (), None, cores) for cores in (0.1, 1.2))
    assert not quiet.disturbed
    assert "1.2 cores" in markdown(report(generation=busy))
    assert Report.from_json(report(generation=busy).to_json()).parts["generation"] == busy


# A session's counts ---------------------------------------------------------------------------------------------------


def listener(repeated: int, skipped: int = 0) -> Listener:
    """Asked for at 0; statistics each second from 5 s to 15 s, over which so many pictures were repeated or skipped."""
    made = Listener(bot=None, character="ada", asked_s=0.0)
    made.sounds = [Sound(5.0 + 0.04 * n + 0.02, 0) for n in range(250 - skipped)]
    for second in range(11):
        counts = {"late": 0, "repeated": 7 + repeated * second // 10, "skipped": skipped * second // 10}
        delays = {"latency_ms": 150.0 + second, "latency_p95_ms": 200.0, "av_offset_ms": 0.0}
        made.stats.append((5.0 + second, counts | delays))
    return made


def test_only_new_pictures_count_as_pictures_a_second():
    found = steadiness(listener(repeated=10))
    assert found.fps == pytest.approx(24.0)
    assert found.late_share == pytest.approx(10 / 250)
    assert found.latency_ms == 155.0


def test_what_was_skipped_was_due_too():
    assert steadiness(listener(repeated=0, skipped=50)).late_share == pytest.approx(50 / 250)


def test_statistics_that_never_came_are_an_error():
    with pytest.raises(RuntimeError, match="statistics"):
        steadiness(Listener(bot=None, character="ada", asked_s=0.0))


def test_of_two_sessions_the_worse_one_is_told():
    good, bad = Steadiness(25.0, 0.0, 150.0, 180.0, 0.0), Steadiness(22.0, 0.12, 190.0, 300.0, 40.0)
    values = [figure.value for figure in worst([good, bad], "2 sessions")]
    assert values == [22.0, 12.0, 190, 300, 40.0]


# Gaps -----------------------------------------------------------------------------------------------------------------


def test_the_gap_may_begin_before_the_moment():
    assert longest_gap_s([0.0, 0.9, 2.4, 3.0, 3.1], since_s=1.0) == pytest.approx(1.5)


def test_a_longer_gap_before_that_does_not_count():
    assert longest_gap_s([0.0, 4.9, 5.2, 6.1], since_s=5.0) == pytest.approx(0.9)


def test_a_stream_that_ends_is_no_short_gap():
    with pytest.raises(RuntimeError, match="nothing came"):
        longest_gap_s([0.0, 1.0, 1.1], since_s=1.0)


# Mouths ---------------------------------------------------------------------------------------------------------------


def moments(count: int) -> list[float]:
    return [10 + 0.04 * n for n in range(count)]


def test_a_mouth_is_closed_from_the_first_picture_on_that_it_stays_closed():
    openings = np.array([0.8, 0.7, 0.5] + [0.0] * 20)
    assert closes_at(moments(23), openings, below=0.1) == pytest.approx(10.12)


def test_lips_that_meet_within_a_word_are_no_closed_mouth():
    openings = np.array([0.8] * 3 + [0.0] * 4 + [0.8] * 3 + [0.0] * 12)
    assert closes_at(moments(22), openings, below=0.1) == pytest.approx(10.40)


def test_one_picture_read_wrongly_does_not_open_a_mouth():
    openings = np.array([0.8, 0.8] + [0.0] * 5 + [0.7] + [0.0] * 12)
    assert closes_at(moments(20), openings, below=0.1) == pytest.approx(10.08)


def test_a_mouth_that_stays_open_never_closes():
    assert closes_at(moments(20), np.full(20, 0.5), below=0.1) is None


def test_a_mouth_seen_closed_too_briefly_at_the_end_is_not_believed():
    assert closes_at(moments(20), np.array([0.5] * 16 + [0.0] * 4), below=0.1) is None


def test_closed_is_what_a_resting_mouth_hardly_exceeds():
    assert closed_below(np.linspace(0.0, 1.0, 101)) == pytest.approx(0.99)
    assert closed_below(np.array([0.1] * 9 + [0.9] + [0.1] * 9)) == pytest.approx(0.1)


# Processes ------------------------------------------------------------------------------------------------------------


def test_a_process_and_what_it_started_are_a_family():
    child = subprocess.Popen(["sleep", "60"])
    try:
        found = processes.family(os.getpid())
        assert {os.getpid(), child.pid} <= found
        both, one = processes.memory({os.getpid(), child.pid}), processes.memory({child.pid})
        assert both.rss_mb > one.rss_mb > 0
        assert both.pss_mb < both.rss_mb
    finally:
        child.kill()
        child.wait()


def test_a_process_that_is_gone_uses_nothing():
    child = subprocess.Popen(["true"])
    child.wait()
    assert processes.memory({child.pid}).rss_mb == processes.processor_s({child.pid}) == 0
