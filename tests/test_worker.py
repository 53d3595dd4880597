"""The worker with the real generator at a tiny size: what the server sends reaches the model, face by face."""

import numpy as np
import pytest
import torch

from model.character import save_character
from model.prepared import mark
from stream.frames import FrameRing
from stream.messages import NEUTRAL, CharacterInfo, ChunkJob, Emotion, Failed, Learn, Open, Place, Prepare, Prepared, Step
from stream.metrics import Metrics
from stream.pool import Pool, _Rank, _Worker
from stream.worker import Worker
from tests.tiny import TINY, tiny_generator


@pytest.fixture(scope="module")
def worker():
    worker = Worker(tiny_generator())
    worker.ring = FrameRing(worker.info, 2)
    yield worker
    worker.ring.close()


def chunk_of(worker: Worker, sounds: list[np.ndarray], emotions: tuple[Emotion, ...], character: str = "duo") -> np.ndarray:
    """The first chunk of a session."""
    worker.open(Open(7, character, 1, 0))
    slot = worker.ring.take()
    done = worker.step(Step((ChunkJob(7, 0, np.stack(sounds).tobytes(), emotions, slot),), 2))
    assert [result.session for result in done.results] == [7] and not done.failed
    frames = worker.ring.read(slot).copy()
    worker.ring.give_back(slot)
    return frames.astype(int)


def test_ready_tells_faces_and_emotions(worker):
    ready = worker.warm_up()
    assert {one.name: len(one.faces) for one in ready.characters} == {"ada": 1, "bo": 1, "duo": 2}
    assert ready.info.emotions == ("neutral", "happy", "sad")


def test_each_face_has_its_own_sound_and_its_own_emotion(worker):
    silence = np.zeros(worker.info.window_samples, np.int16)
    loud = (np.random.default_rng(0).normal(size=len(silence)) * 8000).astype(np.int16)
    rest = chunk_of(worker, [silence, silence], (NEUTRAL, NEUTRAL))
    pictures = [
        rest,
        chunk_of(worker, [loud, silence], (NEUTRAL, NEUTRAL)),
        chunk_of(worker, [silence, loud], (NEUTRAL, NEUTRAL)),
        chunk_of(worker, [silence, silence], (Emotion("happy", 1.0), NEUTRAL)),
        chunk_of(worker, [silence, silence], (NEUTRAL, Emotion("happy", 1.0))),
    ]
    differ = [np.abs(one - other).max() for n, one in enumerate(pictures) for other in pictures[:n]]
    assert min(differ) > 0
    assert (chunk_of(worker, [silence, silence], (NEUTRAL, NEUTRAL)) == rest).all()


def test_a_job_that_does_not_fit_its_character_fails_alone(worker):
    silence = np.zeros(worker.info.window_samples, np.int16)
    worker.open(Open(1, "ada", 1, 0))
    worker.open(Open(2, "duo", 1, 0))
    slots = [worker.ring.take(), worker.ring.take()]
    jobs = [ChunkJob(session, 0, silence.tobytes(), (NEUTRAL,), slot) for session, slot in zip((1, 2), slots, strict=True)]
    done = worker.step(Step(tuple(jobs), 2))
    assert [result.session for result in done.results] == [1]
    assert done.failed == (2,)
    for slot in slots:
        worker.ring.give_back(slot)


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_first_of_several_ranks_waits_to_learn_what_it_prepared(tmp_path, ranks):
    rank, said = Worker(tiny_generator(), Place(0, ranks)), []

    def prepare(generator, portrait, name, title, faces, anyway, folder, tell):
        save_character(folder / name, title, {title: (0.2, 0.2, 0.8, 0.8)}, torch.randn(4, 4, 4))
        mark(folder / name, TINY.characters_of, generator.vae)

    rank.prepare(prepare, Prepare(1, "me", "Me", b"", None, False, str(tmp_path)), said.append)
    assert [(type(one), one.character.title) for one in said] == [(Prepared, "Me")]
    assert ("me" in rank.generator.characters) == (ranks == 1)
    rank.learn(tmp_path / "me")
    assert rank.open(Open(1, "me", 1, 0)) is None


def test_a_prepared_character_is_learnt_by_all_who_do_not_know_it_yet():
    class Heard(list):
        send = list.append

    def worker(number: int, ranks: int) -> _Worker:
        made = _Worker(number, [_Rank(None) for _ in range(ranks)])
        for rank in made.ranks:
            rank.pipe = Heard()
        return made

    for ranks in (1, 2):
        pool = Pool("tests.fakes:load", "fake", 2, 1, Metrics(), sequence_parallel=ranks)
        one, other = pool._workers[0], pool._workers[1] = worker(0, ranks), worker(1, ranks)
        pool._jobs[5] = (one, lambda _: None)
        pool._prepared(one, Prepared(5, CharacterInfo("me", "Me", "/people/me/picture.png", ("Me",)), {}))
        told = [Learn("/people/me")]
        assert [rank.pipe for rank in other.ranks] == [told] * ranks
        assert [rank.pipe for rank in one.ranks] == [told if ranks > 1 else []] * ranks


def test_of_several_ranks_one_that_fails_by_itself_ends_and_one_that_fails_like_all_goes_on(monkeypatch):
    rank = Worker(tiny_generator(), Place(1, 2))
    assert isinstance(rank.open(Open(1, "nobody", 1, 0)), Failed)
    assert rank.open(Open(1, "ada", 1, 0)) is None
    silence = np.zeros(rank.info.window_samples, np.int16).tobytes()
    assert rank.step(Step((ChunkJob(1, 0, silence, (), 0),), 1)).failed == (1,)  # its one face has no emotion

    def out_of_memory(*_):
        raise RuntimeError("out of memory")

    rank.open(Open(1, "ada", 1, 0))
    monkeypatch.setattr(rank.generator, "step", out_of_memory)
    with pytest.raises(RuntimeError, match="out of memory"):
        rank.step(Step((ChunkJob(1, 0, silence, (NEUTRAL,), 0),), 1))
