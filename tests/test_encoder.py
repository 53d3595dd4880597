import asyncio
import threading
from dataclasses import dataclass

import av
import numpy as np
import pytest

from stream.encoder import (
    OPUS_SAMPLES,
    BitrateRange,
    EncoderHub,
    OpusEncoder,
    StreamEnded,
    VideoEncoder,
    bitrate_range,
)

SIZE = 128


def picture(i: int, size: int = SIZE) -> np.ndarray:
    """A textured scene in which a disc moves, so that the encoder has something to spend bits on."""
    y, x = np.mgrid[0:size, 0:size]
    texture = np.random.default_rng(7).integers(0, 60, (size, size, 3))
    moving = (x - size / 2 - 20 * np.sin(i / 5)) ** 2 + (y - size / 2) ** 2 < (size / 4) ** 2
    texture[moving] = np.random.default_rng(i).integers(120, 250, (int(moving.sum()), 3))
    return texture.astype(np.uint8)


@dataclass(frozen=True)
class FakeTick:
    index: int
    frame: np.ndarray | None
    pcm_48k: np.ndarray
    pts_48k: int


def tick(i: int, frame: np.ndarray | None = None) -> FakeTick:
    tone = (8000 * np.sin(2 * np.pi * 440 * (np.arange(1920) + 1920 * i) / 48000)).astype(np.int16)
    frame = picture(i) if frame is None else frame
    frame.flags.writeable = False
    return FakeTick(i, frame, tone, i * 1920)


def decoded(codec: str, frames: list) -> list[np.ndarray]:
    decoder = av.CodecContext.create(codec, "r")
    pictures = []
    for frame in frames:
        pictures += [p.to_ndarray(format="rgb24") for p in decoder.decode(av.Packet(frame.data))]
    return pictures + [p.to_ndarray(format="rgb24") for p in decoder.decode(None)]


def nal_types(data: bytes) -> list[int]:
    return [part[0] & 31 for part in data.split(b"\0\0\1")[1:]]


@pytest.mark.parametrize("codec", ["h264", "vp8"])
def test_every_frame_comes_back_at_once_and_decodes_to_its_picture(codec):
    encoder = VideoEncoder(codec, SIZE, SIZE, 25, BitrateRange(1_000_000, 4_000_000, 6_000_000))
    coded = []
    for i in range(12):
        one = encoder.encode(picture(i), i * 3600)
        assert len(one) == 1
        coded += one
    assert [c.pts_90k for c in coded] == [i * 3600 for i in range(12)]
    assert [c.key for c in coded] == [True] + [False] * 11
    pictures = decoded(codec, coded)
    assert len(pictures) == 12
    error = np.abs(pictures[8].astype(int) - picture(8)).mean()
    assert error < 25 < np.abs(pictures[8].astype(int) - picture(0)[::-1]).mean()


@pytest.mark.parametrize("codec", ["h264", "vp8"])
def test_key_frames_come_only_when_asked_for(codec):
    encoder = VideoEncoder(codec, SIZE, SIZE, 25)
    white = np.full((SIZE, SIZE, 3), 255, np.uint8)  # a hard cut every other frame
    keys = [encoder.encode(white if i % 2 else picture(i), i * 3600, key=i == 9)[0].key for i in range(14)]
    assert [i for i, key in enumerate(keys) if key] == [0, 9]


def test_h264_is_annex_b_constrained_baseline_with_parameter_sets_on_keys():
    encoder = VideoEncoder("h264", SIZE, SIZE, 25)
    coded = [encoder.encode(picture(i), i * 3600, key=i == 2)[0] for i in range(3)]
    assert all(c.data.startswith(b"\0\0\0\1") for c in coded)
    for c in coded:
        types = nal_types(c.data)
        assert ({7, 8, 5} <= set(types)) == c.key
    sps = next(part for part in coded[0].data.split(b"\0\0\1") if part[0] & 31 == 7)
    assert sps[1] == 66 and sps[2] & 0xC0 == 0xC0


def test_h264_bitrate_changes_live_without_a_key_frame():
    encoder = VideoEncoder("h264", SIZE, SIZE, 25, BitrateRange(100_000, 1_200_000, 1_500_000))
    coded = []
    for i in range(150):
        if i == 75:
            encoder.set_bitrate(200_000)
        coded += encoder.encode(picture(i), i * 3600)
    high, low = (sum(len(c.data) for c in part) for part in (coded[25:75], coded[100:150]))
    assert low < 0.4 * high
    assert sum(c.key for c in coded) == 1


def test_vp8_bitrate_changes_by_a_rebuild_but_rarely():
    encoder = VideoEncoder("vp8", SIZE, SIZE, 25, BitrateRange(100_000, 400_000, 900_000))
    keys = []
    for i in range(160):
        encoder.set_bitrate([800_000, 200_000][i % 2])
        keys += [i for c in encoder.encode(picture(i), i * 3600) if c.key]
    assert keys == [0, 75, 150]


def test_bitrate_stays_within_its_range():
    encoder = VideoEncoder("h264", SIZE, SIZE, 25, BitrateRange(300_000, 500_000, 700_000))
    encoder.set_bitrate(1)
    assert encoder.bitrate == 300_000
    encoder.set_bitrate(10**9)
    assert encoder.bitrate == 700_000
    assert bitrate_range(512, 512).start < 4 * bitrate_range(256, 256).start


def test_wrong_pictures_and_codecs_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match="av1"):
        VideoEncoder("av1", SIZE, SIZE, 25)
    with pytest.raises(ValueError, match="even"):
        VideoEncoder("h264", 127, 128, 25)
    with pytest.raises(ValueError, match=r"\(64, 64, 3\).*\(128, 128, 3\)"):
        VideoEncoder("h264", SIZE, SIZE, 25).encode(picture(0, 64), 0)


def test_opus_packets_are_20_ms_on_the_media_clock_and_decode_to_the_tone():
    encoder, packets = OpusEncoder(), []
    for i in range(25):
        packets += encoder.encode(tick(i).pcm_48k, 4800 + i * 1920)
    pts = [p.pts_48k for p in packets]
    assert len(packets) == 50 and np.all(np.diff(pts) == OPUS_SAMPLES)
    assert -480 < pts[0] - 4800 <= 0
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout = 48000, "mono"
    pcm = np.concatenate([f.to_ndarray().ravel() for p in packets for f in decoder.decode(av.Packet(p.data))])
    pcm = pcm.astype(float) / (32768 if np.abs(pcm).max() > 2 else 1)
    spectrum = np.abs(np.fft.rfft(pcm[9600:33600] * np.hanning(24000)))
    assert abs(np.argmax(spectrum) * 2 - 440) <= 4  # 2 Hz per bin


def test_opus_packets_can_carry_their_predecessor():
    """In-band FEC exists only in the SILK and hybrid modes, which the first byte's upper five bits tell (0 to 15)."""
    encoder = OpusEncoder()
    rng = np.random.default_rng(0)
    packets = [p for i in range(20) for p in encoder.encode(rng.integers(-9000, 9000, 1920, np.int16), i * 1920)]
    assert all(p.data[0] >> 3 < 16 for p in packets[2:])


def test_opus_takes_pieces_of_any_size_and_follows_a_jump_of_the_clock():
    encoder = OpusEncoder()
    assert encoder.encode(np.zeros(500, np.int16), 0) == []
    first = encoder.encode(np.zeros(500, np.int16), 500)
    jumped = encoder.encode(np.zeros(960, np.int16), 48_000)
    assert len(first) == 1 and len(jumped) == 1
    assert jumped[0].pts_48k - first[0].pts_48k == 48_000


async def read(reader, count: int) -> list:
    async with asyncio.timeout(10):
        return [await reader.get() for _ in range(count)]


async def test_hub_shares_one_encoder_and_gives_both_readers_the_same_frames():
    hub = EncoderHub(SIZE, SIZE, 25)
    a, b = hub.subscribe("h264"), hub.subscribe("h264")
    assert list(hub.stats()) == ["h264"] and hub.stats()["h264"]["readers"] == 2
    got_a, got_b = [], []
    for i in range(4):
        hub.push(tick(i))
        got_a += await read(a, 1)
        got_b += await read(b, 1)
    assert got_a == got_b and got_a[0].key
    assert hub.stats()["h264"]["coded"] == 4
    assert [c.pts_90k for c in got_a] == [i * 3600 for i in range(4)]
    await hub.close()


async def test_hub_encodes_only_what_somebody_reads_and_frees_the_encoder_with_its_last_reader():
    hub = EncoderHub(SIZE, SIZE, 25)
    hub.push(tick(0))
    assert hub.stats() == {}
    tasks = len(asyncio.all_tasks())
    readers = [hub.subscribe("vp8"), hub.subscribe("vp8"), hub.subscribe("opus")]
    assert set(hub.stats()) == {"vp8", "opus"}
    readers[0].close()
    readers[0].close()
    assert hub.stats()["vp8"]["readers"] == 1
    for reader in readers[1:]:
        reader.close()
    await asyncio.sleep(0)
    assert hub.stats() == {} and len(asyncio.all_tasks()) == tasks


async def test_late_reader_starts_with_a_key_frame():
    hub = EncoderHub(SIZE, SIZE, 25, now=iter(np.arange(0, 100, 0.4)).__next__)
    first = hub.subscribe("h264")
    for i in range(3):
        hub.push(tick(i))
        await read(first, 1)
    late = hub.subscribe("h264")
    hub.push(tick(3))
    (frame,) = await read(late, 1)
    assert frame.key and frame.pts_90k == 3 * 3600
    await hub.close()


async def test_a_storm_of_key_requests_gives_one_key_frame_per_300_ms():
    clock = FakeNow()
    hub = EncoderHub(SIZE, SIZE, 25, now=clock)
    reader = hub.subscribe("h264")
    keys = []
    for i in range(20):
        reader.request_key()
        clock.seconds = i * 0.04
        hub.push(tick(i))
        keys += [c.key for c in await read(reader, 1)]
    assert [i for i, key in enumerate(keys) if key] == [0, 8, 16]
    await hub.close()


class FakeNow:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def test_reader_that_falls_behind_resumes_with_a_key_frame_and_loses_no_order():
    clock = FakeNow()
    hub = EncoderHub(SIZE, SIZE, 25, now=clock)
    quick, slow = hub.subscribe("h264"), hub.subscribe("h264")
    for i in range(40):
        clock.seconds = i * 0.04
        hub.push(tick(i))
        await read(quick, 1)
    slow_frames = await read(slow, 40 - slow.dropped)
    assert slow.dropped > 0
    assert slow_frames[0].key
    pts = [c.pts_90k // 3600 for c in slow_frames]
    assert pts == list(range(pts[0], 40))
    await hub.close()


async def test_sound_reader_that_falls_behind_loses_the_oldest_packets_only():
    hub = EncoderHub(SIZE, SIZE, 25)
    quick, slow = hub.subscribe("opus"), hub.subscribe("opus")
    for i in range(40):
        hub.push(tick(i))
        await read(quick, 2)
    assert slow.dropped == 30
    pts = [c.pts_48k for c in await read(slow, 50)]
    assert np.all(np.diff(pts) == OPUS_SAMPLES)
    await hub.close()


async def test_second_opus_packet_of_a_tick_is_due_20_ms_after_the_first():
    clock = FakeNow()
    hub = EncoderHub(SIZE, SIZE, 25, now=clock)
    sound, video = hub.subscribe("opus"), hub.subscribe("h264")
    clock.seconds = 5.0
    hub.push(tick(0))
    assert [p.due_s for p in await read(sound, 2)] == pytest.approx([5.0, 5.02])
    assert (await read(video, 1))[0].due_s == 5.0
    await hub.close()


async def test_encoder_runs_at_the_smallest_wish_of_its_readers():
    hub = EncoderHub(SIZE, SIZE, 25, bitrate=BitrateRange(100_000, 500_000, 900_000))
    a, b = hub.subscribe("h264"), hub.subscribe("h264")
    assert hub.stats()["h264"]["bitrate"] == 500_000
    a.set_bitrate(800_000)
    b.set_bitrate(200_000)
    assert hub.stats()["h264"]["bitrate"] == 200_000
    b.close()
    assert hub.stats()["h264"]["bitrate"] == 800_000
    await hub.close()


async def test_ticks_before_the_first_picture_make_sound_but_no_video():
    hub = EncoderHub(SIZE, SIZE, 25)
    sound, video = hub.subscribe("opus"), hub.subscribe("h264")
    hub.push(FakeTick(0, None, np.zeros(1920, np.int16), 0))
    hub.push(tick(1))
    assert len(await read(sound, 4)) == 4
    (frame,) = await read(video, 1)
    assert frame.key and frame.pts_90k == 3600
    await hub.close()


async def test_encoder_error_is_survived_and_a_lasting_one_ends_the_stream():
    hub = EncoderHub(SIZE, SIZE, 25)
    reader = hub.subscribe("h264")
    wrong = np.zeros((SIZE * 2, SIZE, 3), np.uint8)
    hub.push(tick(0, wrong))
    hub.push(tick(1))
    assert (await read(reader, 1))[0].key
    for i in range(2, 5):
        hub.push(tick(i, wrong))
        await asyncio.sleep(0)
    with pytest.raises(StreamEnded):
        await read(reader, 1)
    assert hub.stats() == {}


async def test_closing_the_hub_ends_readers_and_leaves_no_task_or_growing_threads():
    tasks = len(asyncio.all_tasks())
    threads = None
    for _ in range(5):
        hub = EncoderHub(SIZE, SIZE, 25)
        reader = hub.subscribe("h264")
        hub.push(tick(0))
        await read(reader, 1)
        await hub.close()
        with pytest.raises(StreamEnded):
            await read(reader, 1)
        with pytest.raises(StreamEnded):
            hub.subscribe("opus")
        threads = threads or threading.active_count()
    assert len(asyncio.all_tasks()) == tasks
    assert threading.active_count() <= threads + 1  # the pool's second thread may start late


async def test_iterating_a_reader_stops_quietly_when_the_session_ends():
    hub = EncoderHub(SIZE, SIZE, 25)
    reader = hub.subscribe("opus")
    hub.push(tick(0))
    seen = []
    async for packet in reader:
        seen.append(packet)
        if len(seen) == 2:
            await hub.close()
    assert len(seen) == 2


def test_unknown_codec_is_named():
    hub = EncoderHub(SIZE, SIZE, 25)
    with pytest.raises(ValueError, match="av1"):
        hub.subscribe("av1")


def test_opus_pts_names_the_sample_that_the_decoder_will_give():
    """The codec delays sound by some milliseconds; a click must come out at the media time at which it went in."""
    encoder, packets = OpusEncoder(bitrate=96_000), []
    pcm = np.zeros(9600, np.int16)
    pcm[5000:5048] = 20_000
    packets = encoder.encode(pcm, 0)
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout, decoder.format = 48000, "mono", "s16"
    decoded = np.concatenate([f.to_ndarray().ravel() for p in packets for f in decoder.decode(av.Packet(p.data))])
    click = int(np.argmax(np.abs(decoded))) + packets[0].pts_48k
    assert abs(click - 5024) < 48
