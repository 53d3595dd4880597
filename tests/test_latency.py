import numpy as np

from stream.latency import LatencyLog, stages_of
from stream.pacer import Tick


def tick(index: int, *, behind: int = 0, repeated: bool = False) -> Tick:
    end_s = 100 + index * 0.04
    stamps = {"capture": end_s, "chunk": end_s + 0.08, "pictures": end_s + 0.13, "pace": end_s + 0.15}
    return Tick(
        index=index, frame=None, picture_index=index - behind, repeated=repeated, late_s=0.0,
        pcm_48k=np.zeros(1920, np.int16), pts_48k=index * 1920, stamps=stamps, stage_s={"denoise": 0.03},
    )  # fmt: skip


def test_stages_are_the_times_between_the_stamps():
    stages = {name: round(spent, 6) for name, spent in stages_of(tick(0)).items()}
    assert stages == {"chunk": 0.08, "denoise": 0.03, "pace": 0.02, "total": 0.15}


def test_a_picture_shown_again_says_nothing_about_stages():
    assert stages_of(tick(0, behind=1, repeated=True)) == {}


def test_the_summary_counts_new_pictures_and_forgets_the_past():
    log = LatencyLog()
    assert log.summary()["fps"] is None
    for index in range(500):
        log.add(tick(index, behind=index % 2, repeated=index % 2 == 1))
    summary = log.summary()
    assert summary["fps"] == 12.5
    assert summary["latency_ms"] == summary["latency_p95_ms"] == 150
    assert summary["av_offset_ms"] == 40
    assert summary["stages_ms"] == {"chunk": 80, "denoise": 30, "pace": 20, "total": 150}
    assert len(log._ticks) == 125
