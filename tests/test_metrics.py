"""What is counted, as a scraper sees it."""

import numpy as np
from prometheus_client import generate_latest

from stream.metrics import Metrics
from stream.pacer import Tick


def text(metrics):
    return generate_latest(metrics.registry).decode()


def tick(**changes):
    known = {
        "index": 5, "frame": np.zeros((2, 2, 3), np.uint8), "picture_index": 5, "repeated": False, "late_s": 0.0,
        "pcm_48k": np.zeros(1920, np.int16), "pts_48k": 0,
        "stamps": {"capture": 1.0, "chunk": 1.06, "pictures": 1.1, "pace": 1.12}, "stage_s": {"denoise": 0.03},
    }  # fmt: skip
    return Tick(**{**known, **changes})


def test_a_tick_counts_once_and_in_every_stage():
    metrics = Metrics()
    metrics.tick(tick(), 25)
    page = text(metrics)
    assert 'visavis_frames_total{kind="sent"} 1.0' in page and 'visavis_frames_total{kind="late"} 0.0' in page
    assert 'visavis_stage_seconds_count{stage="denoise"} 1.0' in page
    assert 'visavis_stage_seconds_bucket{le="0.15",stage="total"} 1.0' in page
    assert 'visavis_stage_seconds_bucket{le="0.1",stage="total"} 0.0' in page


def test_repeated_and_late_ticks_are_told_apart():
    metrics = Metrics()
    metrics.tick(tick(repeated=True, picture_index=4), 25)
    metrics.tick(tick(late_s=0.1), 25)
    page = text(metrics)
    assert 'kind="repeated"} 1.0' in page and 'kind="late"} 1.0' in page and 'kind="sent"} 2.0' in page


def test_sessions_are_counted_by_state_when_somebody_looks():
    metrics, states = Metrics(), ["idle"]
    metrics.watch_sessions(lambda: states)
    states += ["speaking", "idle"]
    assert 'visavis_sessions{state="idle"} 2.0' in text(metrics)


def test_connections_are_counted_while_they_last():
    metrics = Metrics()
    with metrics.connection("ws"):
        assert 'visavis_connections{transport="ws"} 1.0' in text(metrics)
    assert 'visavis_connections{transport="ws"} 0.0' in text(metrics)
