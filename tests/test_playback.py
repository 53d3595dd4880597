from stream.events import MarkReached, PlaybackFinished, PlaybackProgress, PlaybackStarted
from stream.playback import MOST_MARKS, Playback
from stream.speech import Piece


def of(kind: type, events: list) -> list:
    return [event for event in events if isinstance(event, kind)]


def test_started_is_told_when_the_first_sample_has_left_not_before():
    playback = Playback()
    playback.place(5000, Piece(1, 0, 4800, False))
    assert playback.released(5000, 1.0, 0) == []
    assert playback.released(5001, 2.0, 0) == [PlaybackStarted(1, 0, 5000, 2.0)]


def test_progress_comes_once_a_second_of_heard_sound():
    playback = Playback()
    playback.place(0, Piece(1, 0, 48_000 * 5, False))
    events = [event for end in range(1920, 48_000 * 5 + 1, 1920) for event in playback.released(end, 0.0, 250)]
    told = of(PlaybackProgress, events)
    assert [one.position_ms for one in told] == [1000, 2000, 3000, 4000, 5000]
    assert [one.buffered_ms for one in told] == [4250, 3250, 2250, 1250, 250]


def test_finished_tells_the_length_that_was_heard():
    playback = Playback()
    playback.place(0, Piece(1, 0, 4800, False))
    playback.place(9600, Piece(1, 4800, 4800, True))  # the bot was slow in between
    events = [event for end in range(1920, 19_201, 1920) for event in playback.released(end, 0.0, 0)]
    assert events[-1] == PlaybackFinished(1, 200, False)
    assert len(of(PlaybackStarted, events)) == 1


def test_an_end_without_sound_finishes_at_once():
    playback = Playback()
    playback.place(0, Piece(1, 0, 1920, False))
    playback.released(1920, 0.0, 0)
    playback.place(3840, Piece(1, 1920, 0, True))
    assert playback.released(3840, 0.0, 0) == [PlaybackFinished(1, 40, False)]


def test_marks_are_reached_in_order_of_their_offsets_and_at_the_latest_at_the_end():
    playback = Playback()
    playback.mark("late", 1, 60)
    playback.mark("beyond", 1, 10_000)
    playback.mark("early", 1, 0)
    playback.mark("other", 2, 0)
    playback.place(0, Piece(1, 0, 4800, True))
    first, second, third = (playback.released(end, 0.0, 0) for end in (1920, 3840, 4800))
    assert [mark.name for mark in of(MarkReached, first)] == ["early"]
    assert [mark.name for mark in of(MarkReached, second)] == ["late"]
    assert [mark.name for mark in of(MarkReached, third)] == ["beyond"]


def test_a_mark_set_too_late_is_reached_with_the_next_sound():
    playback = Playback()
    playback.place(0, Piece(1, 0, 9600, False))
    playback.released(4800, 0.0, 0)
    playback.mark("behind", 1, 10)
    assert playback.released(6720, 0.0, 0) == [MarkReached("behind", 1, 10)]


def test_marks_are_bounded():
    playback = Playback()
    assert all(playback.mark("m", 1, 0) for _ in range(MOST_MARKS))
    assert not playback.mark("m", 1, 0)


def test_clear_reports_what_was_heard_and_what_was_not():
    playback = Playback()
    playback.place(0, Piece(1, 0, 9600, True))
    playback.place(9600, Piece(2, 0, 4800, False))
    playback.released(4800, 0.0, 0)
    dropped, position_ms, events = playback.clear([2, 3])
    assert (dropped, position_ms) == (9600, 100)
    assert events == [PlaybackFinished(1, 100, True), PlaybackFinished(2, 0, True), PlaybackFinished(3, 0, True)]
    assert playback.released(19_200, 0.0, 0) == []


def test_the_segment_of_an_interval_is_known_before_it_leaves():
    playback = Playback()
    playback.place(1000, Piece(4, 0, 2000, True))
    assert playback.segment_at(0, 1000) is None
    assert playback.segment_at(0, 1920) == 4
    assert playback.segment_at(1920, 3840) == 4
    assert playback.segment_at(3840, 5760) is None


def test_the_same_id_used_again_is_a_new_segment():
    playback = Playback()
    for position in (0, 1920):
        playback.place(position, Piece(0, 0, 1920, True))
    events = playback.released(1920, 0.0, 0) + playback.released(3840, 0.0, 0)
    assert [type(event) for event in events] == [PlaybackStarted, PlaybackFinished] * 2
