"""A whole evaluation at the smallest size: everything is filmed, scored and written, by an untrained generator."""

import json

import numpy as np
import pytest

from model.evaluate import Plan, evaluate
from model.evaluation.readers import Effort
from model.train import sounds
from model.train.augment import CLEAN
from model.train.phones import PHONES
from model.train.speech import RATE, Corpus, clip_of
from tests.tiny import tiny_generator

SMALL = Plan(
    strangers=1, shipped=1, pairs=1, speech_s=1.6, sound_s=0.32, felt=1, felt_s=0.6, pair_s=0.8, jaw_pieces=3, hour=2,
    minute_s=0.8, effort=Effort(pictures=12, steps=2, felt_pictures=18, felt_steps=2),
)  # fmt: skip


def save_corpus(folder) -> None:
    """Twelve seconds of tone and silence with a mouth to it: sound enough for an untrained ear."""
    rng = np.random.default_rng(1)
    phones = [(str(rng.choice(["aa", "m", "iy", "uw", "p"])), at, at + 0.12) for at in np.arange(0.2, 11.5, 0.13)]
    times = np.arange(12 * RATE) / RATE
    pcm = (0.1 * np.sin(900 * times) * (1 + np.sin(20 * times))).astype(np.float32)
    clip = clip_of(pcm, phones, "")
    (folder / "corpus.json").write_text(json.dumps({"voices": [], "phones": PHONES}))
    np.savez(
        folder / "shard-0000.npz", pcm_16k=np.round(clip.pcm_16k * 32767).astype(np.int16), mouth=clip.mouth,
        phones=clip.phones, lengths=np.array([len(clip.phones)]), voices=np.array([65535], np.uint16),
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    save_corpus(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sounds, "KINDS", (sounds.hum, sounds.breaths))
        lines = evaluate(tiny_generator(), Corpus(folder, CLEAN), SMALL, folder)
    return folder, lines


def test_all_files_are_written_and_agree(written):
    folder, lines = written
    scores = json.loads((folder / "scores.json").read_text())["scores"]
    assert set(scores) == {line.row.name for line in lines}
    text, page = (folder / "scores.md").read_text(), (folder / "scores.html").read_text()
    assert all(line.row.name in text for line in lines)
    assert page.count("<img") >= 6 and 'src="http' not in page


def test_every_score_with_a_threshold_gets_a_mark(written):
    _, lines = written
    unmarked = {line.row.name for line in lines if line.row.reach and not line.mark}
    assert not {name for name in unmarked if not name.startswith(("colour", "after the hour: Delta E"))}
    assert {line.mark for line in lines if line.row.reach} - {""} <= {"goal", "reached", "missed"}


def test_strangers_become_characters_with_a_picture(written):
    folder, _ = written
    assert len(list((folder / "people").glob("*.png"))) == SMALL.strangers + SMALL.pairs
