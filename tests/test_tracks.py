import asyncio

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from stream.aiortc_fixes import MediaClock
from stream.encoder import EncoderHub
from stream.tracks import AvatarTrack, GapFiller, Microphone, to_mono
from tests.fakes_rtc import SIZE, fake_tick


class SteppedClock:
    """Moves only when somebody sleeps on it, or is told to."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.slept_until: list[float] = []

    def now(self) -> float:
        return self.seconds

    async def sleep_until(self, deadline: float) -> None:
        self.slept_until.append(deadline)
        self.seconds = max(self.seconds, deadline)


async def test_picture_and_sound_of_a_tick_carry_the_same_media_time():
    clock, media_clock = SteppedClock(), MediaClock()
    hub = EncoderHub(SIZE, SIZE, 25, now=clock.now)
    video, sound = AvatarTrack("video", hub, media_clock, clock), AvatarTrack("audio", hub, media_clock, clock)
    video.open("h264")
    sound.open("opus")
    for i in (0, 7):
        hub.push(fake_tick(i))
        picture, first, second = await video.recv(), await sound.recv(), await sound.recv()
        assert picture.pts * picture.time_base == pytest.approx(i * 0.04)
        # 6.5 ms less: the codec's own delay
        assert float(first.pts * first.time_base) == pytest.approx(i * 0.04 - 0.0065)
        assert second.pts - first.pts == 960
    await hub.close()


async def test_second_sound_packet_waits_for_its_time_and_the_media_clock_agrees_with_both_tracks():
    clock, media_clock = SteppedClock(), MediaClock()
    hub = EncoderHub(SIZE, SIZE, 25, now=clock.now)
    video, sound = AvatarTrack("video", hub, media_clock, clock), AvatarTrack("audio", hub, media_clock, clock)
    video.open("vp8")
    sound.open("opus")
    hub.push(fake_tick(25))
    await video.recv()
    assert media_clock.media_s(100.0) == pytest.approx(1.0)
    await sound.recv()
    assert clock.slept_until == []
    await sound.recv()
    assert clock.slept_until == pytest.approx([100.02])
    assert media_clock.media_s(100.02) == pytest.approx(1.02)
    await hub.close()


async def test_track_reads_from_the_hub_only_between_open_and_stop():
    hub = EncoderHub(SIZE, SIZE, 25)
    track = AvatarTrack("video", hub, MediaClock())
    with pytest.raises(MediaStreamError):
        await track.recv()
    track.request_key()
    track.set_bitrate(1)
    assert hub.stats() == {} and track.codec is None
    track.open("h264")
    assert hub.stats()["h264"]["readers"] == 1 and track.codec == "h264"
    track.stop()
    track.stop()
    assert hub.stats() == {}
    with pytest.raises(MediaStreamError):
        await track.recv()


async def test_track_ends_with_the_session():
    hub = EncoderHub(SIZE, SIZE, 25)
    track = AvatarTrack("audio", hub, MediaClock())
    track.open("opus")
    waiting = asyncio.create_task(track.recv())
    await asyncio.sleep(0)
    await hub.close()
    with pytest.raises(MediaStreamError):
        await waiting
    assert track.readyState == "ended"
    with pytest.raises(MediaStreamError):
        AvatarTrack("audio", hub, MediaClock()).open("opus")


async def test_key_frame_and_bitrate_wishes_reach_the_encoder():
    seconds = [0.0]
    hub = EncoderHub(SIZE, SIZE, 25, now=lambda: seconds[0])
    track = AvatarTrack("video", hub, MediaClock())
    track.open("h264")
    for i in range(12):
        seconds[0] = i * 0.04
        if i == 9:
            track.request_key()
            track.set_bitrate(1)
        hub.push(fake_tick(i))
        await track.recv()
    assert hub.stats()["h264"]["keys"] == 2
    assert hub.stats()["h264"]["bitrate"] == hub.bitrate_range.floor
    await hub.close()


def sound_frame(samples: np.ndarray, layout: str, form: str = "s16") -> av.AudioFrame:
    return av.AudioFrame.from_ndarray(samples, form, layout)


def test_any_layout_becomes_its_mean():
    left, right = np.arange(-480, 480, dtype=np.int16) * 60, np.full(960, 1000, np.int16)
    mean = ((left.astype(int) + right) / 2).astype(np.int16)
    packed = np.stack([left, right], axis=1).reshape(1, -1)
    assert np.array_equal(to_mono(sound_frame(packed, "stereo")), mean)
    assert np.array_equal(to_mono(sound_frame(np.stack([left, right]), "stereo", "s16p")), mean)
    assert np.array_equal(to_mono(sound_frame(left[None], "mono")), left)
    loud = np.full((1, 1920), 32767, np.int16)
    assert to_mono(sound_frame(loud, "stereo")).max() == 32767


def test_gaps_of_the_clock_are_filled_and_pauses_are_not():
    gaps = GapFiller(max_fill_samples=48_000)
    assert gaps.silence_before(5000, 960) == 0
    assert gaps.silence_before(5960, 960) == 0
    assert gaps.silence_before(5960 + 960 * 3, 960) == 1920
    assert gaps.silence_before(5960 + 960 * 3 + 100_000, 960) == 0  # longer than a second: the source paused
    assert gaps.silence_before(0, 960) == 0  # it began anew
    assert gaps.silence_before(960, 960) == 0
    assert gaps.filled_samples == 1920


class ListTrack:
    def __init__(self, frames: list) -> None:
        self.frames = list(frames)

    async def recv(self) -> av.AudioFrame:
        if not self.frames:
            raise MediaStreamError
        return self.frames.pop(0)


async def test_microphone_pushes_every_piece_at_once_with_silence_for_what_was_lost():
    frames = []
    for number in (0, 1, 3):
        frame = sound_frame(np.full((1, 960), number + 1, np.int16), "mono")
        frame.sample_rate, frame.pts = 48_000, number * 960
        frames.append(frame)
    pushed = []
    microphone = Microphone(ListTrack(frames), lambda pcm, rate: pushed.append((rate, pcm)))
    await microphone.run()
    assert [rate for rate, _ in pushed] == [48_000] * 4
    whole = np.concatenate([pcm for _, pcm in pushed])
    assert np.array_equal(whole, np.repeat(np.array([1, 2, 0, 4], np.int16), 960))
    assert (microphone.received_samples, microphone.filled_samples) == (2880, 960)
