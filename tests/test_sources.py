import numpy as np

from stream.sources import MOST_WAITING, Sources
from stream.speech import Piece, SpeechQueue

PACKET = 960


def sources(faces: int) -> Sources:
    return Sources(SpeechQueue() for _ in range(faces))


def packet(value: int, length: int = PACKET) -> np.ndarray:
    return np.full(length, value, np.int16)


def test_the_microphone_speaks_for_one_face_and_the_others_are_silent():
    both = sources(2)
    both.face = 1
    voices, placed = both.take(packet(5))
    assert voices.tolist() == [[0] * PACKET, [5] * PACKET]
    assert placed == []


def test_queued_speech_takes_the_place_of_its_own_face_only():
    both = sources(2)
    both.queues[1].push(packet(9, PACKET + 10), 48_000, 4)
    both.queues[1].end(4)
    voices, placed = both.take(packet(5))
    assert (voices[0] == 5).all() and (voices[1] == 9).all()
    assert placed == [(1, 0, Piece(4, 0, PACKET, False))]
    voices, placed = both.take(packet(5))
    assert (voices[0] == 5).all()
    assert (voices[1, :10] == 9).all() and not voices[1, 10:].any()
    assert placed == [(1, 0, Piece(4, PACKET, 10, True))]


def test_two_may_speak_at_a_time():
    both = sources(2)
    for face, queue in enumerate(both.queues):
        queue.push(packet(face + 1), 48_000, 1)
    voices, placed = both.take(packet(0))
    assert (voices[0] == 1).all() and (voices[1] == 2).all()
    assert [face for face, _, _ in placed] == [0, 1]


def test_several_segments_in_one_stretch_stand_one_after_the_other():
    one = sources(1)
    for segment in (1, 2):
        one.queues[0].push(packet(segment, 100), 48_000, segment)
        one.queues[0].end(segment)
    _, placed = one.take(packet(0))
    assert [(offset, piece.segment) for _, offset, piece in placed] == [(0, 1), (100, 2)]


def test_the_senders_block_is_not_written_to():
    one, block = sources(1), packet(5)
    one.queues[0].push(packet(9), 48_000, 1)
    one.take(block)
    assert (block == 5).all()


def test_a_microphone_beside_the_clock_waits_for_its_turn():
    both = sources(2)
    both.push_beside(1, packet(7))
    voices, _ = both.take(packet(5, PACKET // 2))
    assert (voices[0] == 5).all() and (voices[1] == 7).all()
    voices, _ = both.take(packet(5))
    assert (voices[1, : PACKET // 2] == 7).all() and not voices[1, PACKET // 2 :].any()


def test_two_microphones_for_one_face_are_heard_together():
    one = sources(1)
    one.push_beside(0, packet(30_000))
    voices, _ = one.take(packet(30_000))
    assert (voices == 32_767).all()


def test_a_fast_microphone_beside_the_clock_never_gets_far_behind():
    both = sources(2)
    for _ in range(1000):
        both.push_beside(1, packet(7, PACKET + 1))
        both.take(packet(5))
    assert len(both._beside[1]) <= MOST_WAITING
    for _ in range(10):
        both.push_beside(1, packet(8))
    both.take(packet(5, MOST_WAITING))
    assert not both._beside


def test_with_fewer_faces_the_first_takes_what_was_meant_for_another():
    both = sources(2)
    both.face = 1
    both.push_beside(1, packet(7))
    both.queues = both.queues[:1]
    voices, _ = both.take(packet(5))
    assert voices.tolist() == [[12] * PACKET]
