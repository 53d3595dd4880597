"""Deadlines, batches, steps and capacity, on numbers alone."""

from stream.scheduler import Scheduler, Waiting

CHUNK_S = 0.08


def scheduler(cost_s=(0.01, 0.02), max_batch=4):
    return Scheduler(cost_s, max_batch, CHUNK_S)


def waiting(session, due, index=0):
    return Waiting(session, index, due, submitted_at=due - 0.05, windows_s16=b"", emotions=())


def sessions(batch):
    return [job.session for job in batch.jobs]


def test_nothing_waiting_is_nothing_to_do():
    assert scheduler().next(0.0) is None


def test_the_most_urgent_come_first():
    s = scheduler(max_batch=2)
    for session, due in ((1, 3.0), (2, 1.0), (3, 2.0)):
        s.submit(waiting(session, due))
    assert sessions(s.next(0.9)) == [2, 3]
    assert sessions(s.next(0.9)) == [1]


def test_a_newer_chunk_replaces_one_that_has_not_run():
    s = scheduler()
    s.submit(waiting(1, 1.0, index=4))
    s.submit(waiting(1, 1.08, index=5))
    batch = s.next(1.0)
    assert [job.index for job in batch.jobs] == [5] and s.dropped == 1


def test_a_hopelessly_late_chunk_is_dropped_where_others_wait():
    s = scheduler()
    s.submit(waiting(1, 1.0))
    s.submit(waiting(2, 2.0))
    assert sessions(s.next(1.5)) == [2] and s.dropped == 1


def test_the_only_late_chunk_is_made_all_the_same():
    s = scheduler()
    s.submit(waiting(1, 1.0))
    assert sessions(s.next(9.0)) == [1] and s.dropped == 0


def test_a_forgotten_session_has_no_chunk():
    s = scheduler()
    s.submit(waiting(1, 1.0))
    s.forget(1)
    assert s.next(0.9) is None


def run_at_load(s, took_s, batches, start=0.0):
    now = start
    for _ in range(batches):
        now += CHUNK_S
        s.finished(1, s.steps, took_s(s.steps), now)
    return now


def test_steps_fall_when_the_worker_is_always_busy():
    s = scheduler((0.045, 0.078))
    run_at_load(s, lambda steps: (0.045, 0.078)[steps - 1], 30)
    assert s.steps == 1


def test_steps_rise_again_when_there_is_room_but_not_at_once():
    s = scheduler((0.01, 0.02))
    now = run_at_load(s, lambda steps: 0.079, 30)
    assert s.steps == 1
    s.finished(1, 1, 0.01, now + CHUNK_S)
    assert s.steps == 1
    run_at_load(s, lambda steps: 0.01 * steps, 200, now + CHUNK_S)
    assert s.steps == 2


def test_steps_do_not_flutter_where_more_would_be_too_many():
    s = scheduler((0.04, 0.08))
    now, seen = 0.0, []
    for _ in range(400):
        now += CHUNK_S
        s.finished(1, s.steps, (0.04, 0.08)[s.steps - 1], now)
        seen.append(s.steps)
    assert set(seen[50:]) == {1}


def test_capacity_follows_the_measured_cost():
    s = scheduler((0.02, 0.04))
    assert s.capacity() == 3
    now = 0.0
    s.steps = 1
    for _ in range(400):
        now += CHUNK_S
        s.finished(1, 1, 0.06, now)
    assert s.capacity() == 1


def test_chunks_that_share_a_batch_cost_less_than_alone():
    s = Scheduler((0.042,), 4, CHUNK_S, share_of_more=0.7)
    assert s.capacity() == 2
    for batch in range(400):  # two together, as slow as was measured: nothing changes
        s.finished(2, 1, 0.042 * 1.7, batch * CHUNK_S)
    assert s.capacity() == 2


def test_a_slow_machine_still_takes_one():
    assert scheduler((0.5,)).capacity() == 1
