"""The queue in front of a WebSocket: order, and what is left out for a slow reader."""

from stream import protocol
from stream.outbox import Outbox, OutboxConfig
from stream.protocol import Flag, Kind, MediaFrame

TICK_US = 40_000


def picture(tick: int, key: bool = False) -> MediaFrame:
    return MediaFrame(Kind.VIDEO_OUT, b"v", pts_us=tick * TICK_US, flags=Flag.KEY if key else Flag.NONE)


def sound(tick: int) -> MediaFrame:
    return MediaFrame(Kind.AUDIO_OUT, b"a", pts_us=tick * TICK_US)


def drained(outbox: Outbox) -> list[str | tuple[Kind, int]]:
    sent = []
    while (item := outbox.pop()) is not None:
        if isinstance(item, str):
            sent.append(item)
        else:
            media = protocol.decode_media(item)
            sent.append((media.kind, media.pts_us // TICK_US, media.flags))
    return sent


def ticks(sent, kind: Kind) -> list[int]:
    return [tick for what, tick, _ in sent if what is kind]


def test_nothing_goes_out_before_the_first_key_frame_then_its_sound_does():
    outbox = Outbox()
    for tick in range(3):
        outbox.push(sound(tick))
    outbox.push(picture(1))
    assert drained(outbox) == []
    outbox.push(picture(2, key=True))
    sent = drained(outbox)
    assert ticks(sent, Kind.VIDEO_OUT) == [2]
    assert ticks(sent, Kind.AUDIO_OUT) == [2]


def test_messages_overtake_media():
    outbox = Outbox()
    outbox.push(picture(0, key=True))
    outbox.push_control("cleared")
    assert drained(outbox)[0] == "cleared"


def test_overflow_continues_at_the_last_key_frame_with_its_sound():
    outbox = Outbox(OutboxConfig(max_lag_us=10 * TICK_US))
    for tick in range(12):
        outbox.push(sound(tick))
        outbox.push(picture(tick, key=tick in (0, 8)))
    sent = drained(outbox)
    assert ticks(sent, Kind.VIDEO_OUT) == [8, 9, 10, 11]
    assert ticks(sent, Kind.AUDIO_OUT) == [8, 9, 10, 11]
    assert Flag.DISCONTINUITY in sent[0][2]
    assert Flag.DISCONTINUITY not in sent[1][2]
    assert outbox.dropped_us == 8 * TICK_US


def test_overflow_without_a_key_frame_waits_for_the_next_one():
    outbox = Outbox(OutboxConfig(max_lag_us=10 * TICK_US))
    outbox.push(picture(0, key=True))
    for tick in range(1, 12):
        outbox.push(sound(tick))
        outbox.push(picture(tick))
    assert outbox.awaits_key
    outbox.push(sound(12))
    outbox.push(picture(12, key=True))
    outbox.push(sound(13))
    sent = drained(outbox)
    assert ticks(sent, Kind.VIDEO_OUT) == [12]
    assert ticks(sent, Kind.AUDIO_OUT) == [12, 13]


def test_a_stalled_reader_costs_bounded_memory():
    outbox = Outbox()
    for tick in range(10_000):
        outbox.push(sound(tick))
        outbox.push(picture(tick, key=tick % 50 == 0))
    assert len(drained(outbox)) <= 2 * 26


def test_sound_alone_needs_no_key_frame_and_keeps_the_newest():
    outbox = Outbox(OutboxConfig(max_lag_us=10 * TICK_US, has_video=False))
    for tick in range(100):
        outbox.push(sound(tick))
    kept = ticks(drained(outbox), Kind.AUDIO_OUT)
    assert kept[-1] == 99
    assert 5 <= len(kept) <= 11
    assert kept == list(range(kept[0], 100))


def test_a_client_that_reads_no_messages_is_hopeless():
    outbox = Outbox(OutboxConfig(max_controls=3))
    for _ in range(4):
        outbox.push_control("{}")
    assert outbox.hopeless


def test_after_the_end_only_messages_go_out():
    outbox = Outbox()
    outbox.push(picture(0, key=True))
    outbox.push(sound(0))
    outbox.drop_media()
    outbox.push_control("closed")
    outbox.push(sound(1))
    assert drained(outbox) == ["closed"]
