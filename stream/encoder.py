"""Codes a session's ticks once, for everyone who watches it. Knows nothing of RTP, peers or sockets.

`VideoEncoder` and `OpusEncoder` are plain: samples in, coded bytes out, on the caller's thread. `EncoderHub` runs one
encoder per codec that somebody asked for, off the event loop, and hands the same coded frames to every reader.
"""

import asyncio
import functools
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

logger = logging.getLogger(__name__)

VIDEO_RATE = 90_000  # RTP clock of every video codec
SOUND_RATE = 48_000  # RTP clock of Opus
OPUS_SAMPLES = 960  # 20 ms
OPUS_DELAY_SAMPLES = 312  # what the codec holds back; told in the pts, so that it does not count against lip sync
OPUS_BITRATE = 40_000  # mono speech; above about 48 kbit/s Opus leaves the mode that can carry in-band FEC

VIDEO_CODECS = {"h264": "libx264", "vp8": "libvpx"}
MIN_KEY_GAP_S = 0.3  # key frames asked for within this time of the last one are one key frame
VP8_REBUILD_GAP_S = 3.0  # libvpx cannot be retuned through FFmpeg; a rebuild costs a key frame
VP8_REBUILD_RATIO = 1.25
MAX_FAILURES = 3  # consecutive encoder errors after which the stream ends instead of staying frozen

VIDEO_INBOX = 2  # ticks waiting for the encoder; older ones are skipped, the next picture replaces them
SOUND_INBOX = 25
VIDEO_BACKLOG = 25  # coded frames one reader may leave unread: a second
SOUND_BACKLOG = 50


@dataclass(frozen=True)
class EncodedFrame:
    """One coded picture: an H.264 access unit in Annex B form, or a VP8 frame."""

    data: bytes
    key: bool
    pts_90k: int
    due_s: float = 0.0  # monotonic instant at which it was ready to leave

    @property
    def media_s(self) -> float:
        return self.pts_90k / VIDEO_RATE


@dataclass(frozen=True)
class EncodedSound:
    """One 20 ms Opus packet."""

    data: bytes
    pts_48k: int
    due_s: float = 0.0  # monotonic instant at which it should leave

    key = True  # every packet can be decoded by someone who just joined

    @property
    def media_s(self) -> float:
        """Of the samples that were last put in, not of those that will come out first."""
        return (self.pts_48k + OPUS_DELAY_SAMPLES) / SOUND_RATE


@dataclass(frozen=True)
class BitrateRange:
    """Where a viewer's bit rate starts and how far it may go, in bits per second."""

    floor: int
    start: int
    ceiling: int


def bitrate_range(width: int, height: int) -> BitrateRange:
    """820 kbit/s at 256x256, 2.3 Mbit/s at 512x512: bits per pixel fall as the picture grows."""
    start = int(820_000 * (width * height / 65_536) ** 0.75)
    return BitrateRange(floor=start // 2, start=start, ceiling=start * 3 // 2)


class StreamEnded(Exception):
    """The session closed, the reader was closed, or the encoder failed for good."""


class Tick(Protocol):
    """What the encoders need of the pacer's tick."""

    frame: np.ndarray | None  # (h, w, 3) uint8 RGB
    pcm_48k: np.ndarray  # int16 mono
    pts_48k: int


class VideoEncoder:
    """RGB pictures to H.264 (constrained baseline) or VP8, one frame in, one frame out, a key frame only when asked."""

    def __init__(self, codec: str, width: int, height: int, fps: int, bitrate: BitrateRange | None = None):
        if codec not in VIDEO_CODECS:
            raise ValueError(f"unknown video codec {codec!r}: use one of {', '.join(VIDEO_CODECS)}")
        if width % 2 or height % 2:
            raise ValueError(f"picture size {width}x{height} must be even in both directions for 4:2:0 video")
        self.codec, self.width, self.height, self.fps = codec, width, height, fps
        self.bitrate_range = bitrate or bitrate_range(width, height)
        self._target_bps = self.bitrate_range.start
        self._to_yuv = VideoReformatter()  # kept: building the scaler costs twice as much as using it
        self._context: av.VideoCodecContext | None = None
        self._opened_pts_90k = 0

    @property
    def bitrate(self) -> int:
        return self._target_bps

    def set_bitrate(self, bps: int) -> None:
        """Takes effect with the next frame; clamped to the range given at construction. Callable from any thread."""
        self._target_bps = max(self.bitrate_range.floor, min(self.bitrate_range.ceiling, int(bps)))

    def encode(self, frame_rgb: np.ndarray, pts_90k: int, key: bool = False) -> list[EncodedFrame]:
        if frame_rgb.shape != (self.height, self.width, 3) or frame_rgb.dtype != np.uint8:
            raise ValueError(
                f"picture is {frame_rgb.dtype} {frame_rgb.shape}, the encoder was made for "
                f"uint8 {(self.height, self.width, 3)}"
            )
        context = self._tuned_context(pts_90k)
        rgb = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(frame_rgb), "rgb24")
        picture = self._to_yuv.reformat(rgb, format="yuv420p")
        picture.pts, picture.time_base = pts_90k, Fraction(1, VIDEO_RATE)
        picture.pict_type = PictureType.I if key else PictureType.NONE
        return [EncodedFrame(bytes(p), bool(p.is_keyframe), pts_90k) for p in context.encode(picture)]

    def _tuned_context(self, pts_90k: int) -> av.VideoCodecContext:
        if self._context is not None and self.codec == "vp8" and self._vp8_needs_rebuild(pts_90k):
            self._context = None
        if self._context is None:
            self._context = self._open()
            self._opened_pts_90k = pts_90k
        if self.codec == "h264" and self._context.bit_rate != self._target_bps:
            self._context.bit_rate = self._target_bps  # x264 retunes itself without a key frame
        return self._context

    def _vp8_needs_rebuild(self, pts_90k: int) -> bool:
        now, then = self._target_bps, self._context.bit_rate
        far = max(now, then) > VP8_REBUILD_RATIO * min(now, then)
        return far and pts_90k - self._opened_pts_90k >= VP8_REBUILD_GAP_S * VIDEO_RATE

    def _open(self) -> av.VideoCodecContext:
        context = av.CodecContext.create(VIDEO_CODECS[self.codec], "w")
        context.width, context.height, context.pix_fmt = self.width, self.height, "yuv420p"
        context.framerate, context.time_base = Fraction(self.fps), Fraction(1, VIDEO_RATE)
        context.gop_size = 1 << 24  # key frames are asked for
        context.max_b_frames = 0
        context.thread_count = 1
        context.colorspace, context.color_range = 6, 1  # BT.601, limited: what browsers assume of WebRTC video
        if self.codec == "h264":
            ceiling = self.bitrate_range.ceiling
            context.profile = "Baseline"
            # Live retuning works only when opened at bit_rate == maxrate. A decoder buffer of 100 ms bounds a key
            # frame to a dozen packets (14 instead of 38 KB at 256x256, same quality 50 frames on), so that its burst
            # does not push the sound out of a small network queue.
            context.bit_rate = ceiling
            context.options = {
                "preset": "veryfast",
                "tune": "zerolatency",
                "sc_threshold": "0",  # no key frame at a hard change of the picture
                "maxrate": str(ceiling),
                "bufsize": str(ceiling // 10),
            }
        else:
            rate = self._target_bps
            context.bit_rate = rate
            context.qmin, context.qmax = 2, 56
            context.options = {
                "deadline": "realtime",
                "cpu-used": "-6",
                "lag-in-frames": "0",
                "minrate": str(rate),
                "maxrate": str(rate),
                "bufsize": str(rate // 2),
                "undershoot-pct": "100",
                "overshoot-pct": "15",
                "static-thresh": "1",
            }
        context.open()
        return context


class OpusEncoder:
    """48 kHz mono PCM in pieces of any size to 20 ms Opus packets that carry a low-rate copy of their predecessor."""

    codec = "opus"

    def __init__(self, bitrate: int = OPUS_BITRATE):
        context = av.CodecContext.create("libopus", "w")
        context.sample_rate, context.format, context.layout = SOUND_RATE, "s16", "mono"
        context.bit_rate, context.time_base = bitrate, Fraction(1, SOUND_RATE)
        context.options = {"application": "voip", "frame_duration": "20", "fec": "1", "packet_loss": "10"}
        context.open()
        self._context = context
        self._waiting = np.zeros(0, np.int16)
        self._waiting_pts_48k = 0

    def encode(self, pcm_48k: np.ndarray, pts_48k: int) -> list[EncodedSound]:
        """A pts that does not follow the last piece starts a new block; what was waiting for one is dropped."""
        if pts_48k != self._waiting_pts_48k + len(self._waiting):
            self._waiting, self._waiting_pts_48k = self._waiting[:0], pts_48k
        self._waiting = np.concatenate([self._waiting, pcm_48k])
        packets = []
        while len(self._waiting) >= OPUS_SAMPLES:
            block, self._waiting = self._waiting[:OPUS_SAMPLES], self._waiting[OPUS_SAMPLES:]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block)[None], "s16", "mono")
            frame.sample_rate = SOUND_RATE
            pts_48k = self._waiting_pts_48k - OPUS_DELAY_SAMPLES
            packets += [EncodedSound(bytes(p), pts_48k) for p in self._context.encode(frame)]
            self._waiting_pts_48k += OPUS_SAMPLES
        return packets


@functools.cache
def shared_executor() -> Executor:
    """The threads on which all sessions encode; the default executor would make them wait for DNS and files."""
    return ThreadPoolExecutor(max_workers=2, thread_name_prefix="encoder")


class CodedReader:
    """One reader's view of a coded stream: starts with a key frame, bounded, and resumes at one when it fell behind."""

    def __init__(self, stream: "_CodedStream", backlog: int):
        self._stream = stream
        self._backlog = backlog
        self._queue: deque[EncodedFrame | EncodedSound] = deque()
        self._ready = asyncio.Event()
        self._needs_key = True
        self._closed = False
        self.dropped = 0
        self.bitrate_bps: int | None = None

    @property
    def codec(self) -> str:
        return self._stream.codec

    async def get(self) -> EncodedFrame | EncodedSound:
        """The next coded frame. Raises StreamEnded once the stream is closed."""
        while not self._queue:
            if self._closed:
                raise StreamEnded(f"the {self.codec} stream has ended")
            self._ready.clear()
            await self._ready.wait()
        return self._queue.popleft()

    def __aiter__(self) -> "CodedReader":
        return self

    async def __anext__(self) -> EncodedFrame | EncodedSound:
        try:
            return await self.get()
        except StreamEnded:
            raise StopAsyncIteration from None

    def request_key(self) -> None:
        self._stream.request_key()

    def set_bitrate(self, bps: int) -> None:
        """What this reader's path can carry; the shared encoder runs at the smallest wish of all readers."""
        self.bitrate_bps = bps
        self._stream.retune()

    def close(self) -> None:
        """Idempotent. The encoder is freed with its last reader."""
        self.end()
        self._stream.remove(self)

    def end(self) -> None:
        self._closed = True
        self._queue.clear()
        self._ready.set()

    def offer(self, coded: EncodedFrame | EncodedSound) -> None:
        if self._closed:
            return
        if self._needs_key and not coded.key:
            self.dropped += 1
            return
        self._needs_key = False
        if len(self._queue) >= self._backlog:
            self._drop_to_last_key()
            if self._needs_key and not coded.key:
                self.dropped += 1
                return
            self._needs_key = False
        self._queue.append(coded)
        self._ready.set()

    def _drop_to_last_key(self) -> None:
        """Keeps what can be decoded without the dropped part; for sound that is everything but the oldest."""
        keys = [i for i, coded in enumerate(self._queue) if coded.key and i > 0]
        keep_from = keys[0 if isinstance(self._queue[0], EncodedSound) else -1] if keys else len(self._queue)
        for _ in range(keep_from):
            self._queue.popleft()
        self.dropped += keep_from
        if not self._queue:
            self._needs_key = True
            self.request_key()


class EncoderHub:
    """All coded outputs of one session: an encoder per codec on first use, shared by its readers.

    `push` every tick from the event loop; it never waits. `observe` is called with the seconds from push to coded.
    """

    def __init__(
        self,
        width: int,
        height: int,
        fps: int,
        *,
        bitrate: BitrateRange | None = None,
        executor: Executor | None = None,
        observe: Callable[[float], None] = lambda seconds: None,
        now: Callable[[], float] = time.monotonic,
    ):
        self.width, self.height, self.fps = width, height, fps
        self.bitrate_range = bitrate or bitrate_range(width, height)
        self.executor = executor
        self.observe = observe
        self.now = now
        self._streams: dict[str, _CodedStream] = {}
        self._closed = False

    def subscribe(self, codec: str) -> CodedReader:
        """A reader of "h264", "vp8" or "opus"; the caller must close it. Raises StreamEnded after `close`."""
        if self._closed:
            raise StreamEnded("the session has ended")
        if codec not in self._streams:
            self._streams[codec] = _CodedStream(codec, self._encoder_maker(codec), self)
        return self._streams[codec].add()

    def push(self, tick: Tick) -> None:
        for stream in list(self._streams.values()):
            stream.push(tick)

    def request_key(self, codec: str) -> None:
        if codec in self._streams:
            self._streams[codec].request_key()

    def stats(self) -> dict[str, dict[str, int]]:
        """Per running codec: readers, coded frames, key frames, skipped ticks, bit rate."""
        return {codec: stream.stats() for codec, stream in self._streams.items()}

    async def close(self) -> None:
        """Ends every reader and waits until the encoders are gone. Idempotent."""
        self._closed = True
        streams, self._streams = list(self._streams.values()), {}
        for stream in streams:
            await stream.stop()

    def forget(self, stream: "_CodedStream") -> None:
        if self._streams.get(stream.codec) is stream:
            del self._streams[stream.codec]

    def _encoder_maker(self, codec: str) -> Callable[[], VideoEncoder | OpusEncoder]:
        if codec == "opus":
            return OpusEncoder
        if codec not in VIDEO_CODECS:
            raise ValueError(f"unknown codec {codec!r}: use one of {', '.join([*VIDEO_CODECS, 'opus'])}")
        return functools.partial(VideoEncoder, codec, self.width, self.height, self.fps, self.bitrate_range)


class _CodedStream:
    """One encoder, its task, and the readers that share it."""

    def __init__(self, codec: str, make: Callable[[], VideoEncoder | OpusEncoder], hub: EncoderHub):
        self.codec = codec
        self._make = make
        self._hub = hub
        self._video = codec in VIDEO_CODECS
        self._inbox: deque[tuple[Tick, float]] = deque()
        self._inbox_size = VIDEO_INBOX if self._video else SOUND_INBOX
        self._wake = asyncio.Event()
        self._readers: list[CodedReader] = []
        self._encoder: VideoEncoder | OpusEncoder | None = make()  # None once the stream has ended
        self._key_wanted = False
        self._last_key_s = float("-inf")
        self._coded = self._keys = self._skipped = 0
        self._task = asyncio.create_task(self._run(), name=f"encode-{codec}")

    def add(self) -> CodedReader:
        reader = CodedReader(self, VIDEO_BACKLOG if self._video else SOUND_BACKLOG)
        self._readers.append(reader)
        self.request_key()
        self.retune()
        return reader

    def remove(self, reader: CodedReader) -> None:
        if reader not in self._readers:
            return
        self._readers.remove(reader)
        self.retune()
        if not self._readers:
            self._hub.forget(self)
            self._task.cancel()

    def push(self, tick: Tick) -> None:
        if self._video and tick.frame is None:
            return
        if len(self._inbox) >= self._inbox_size:
            self._inbox.popleft()
            self._skipped += 1
        self._inbox.append((tick, self._hub.now()))
        self._wake.set()

    def request_key(self) -> None:
        self._key_wanted = True

    def retune(self) -> None:
        wishes = [r.bitrate_bps for r in self._readers if r.bitrate_bps is not None]
        if self._video and self._encoder:
            self._encoder.set_bitrate(min(wishes, default=self._hub.bitrate_range.start))

    def stats(self) -> dict[str, int]:
        bitrate = self._encoder.bitrate if self._video and self._encoder else OPUS_BITRATE
        return {
            "readers": len(self._readers),
            "coded": self._coded,
            "keys": self._keys,
            "skipped": self._skipped,
            "bitrate": bitrate,
        }

    async def stop(self) -> None:
        for reader in self._readers:
            reader.end()
        self._readers.clear()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        try:
            while failures < MAX_FAILURES:
                while not self._inbox:
                    self._wake.clear()
                    await self._wake.wait()
                tick, pushed_s = self._inbox.popleft()
                try:
                    await self._encode(tick, pushed_s)
                    failures = 0
                except Exception:
                    # A broken encoder is replaced; the next frame from the new one is a key frame.
                    failures += 1
                    logger.exception("%s encoder failed (%d of %d)", self.codec, failures, MAX_FAILURES)
                    self._encoder = self._make()
                    self.retune()
        finally:
            # Now, not when the garbage is collected: the cancelled task keeps us alive, and a codec keeps threads.
            self._encoder = None
            for reader in self._readers:
                reader.end()
            self._hub.forget(self)

    async def _encode(self, tick: Tick, pushed_s: float) -> None:
        executor = self._hub.executor or shared_executor()
        coded_list = await asyncio.get_running_loop().run_in_executor(executor, self._work(tick, pushed_s))
        for i, coded in enumerate(coded_list):
            self._coded += 1
            if self._video and coded.key:
                self._keys += 1
                self._last_key_s = pushed_s
                self._key_wanted = False
            # A tick's later Opus packets leave when their own time comes: sent as pairs every 40 ms they would
            # look like 20 ms of network jitter, and the browser would buffer against it.
            due_s = pushed_s if self._video else pushed_s + i * OPUS_SAMPLES / SOUND_RATE
            coded = replace(coded, due_s=due_s)
            for reader in self._readers:
                reader.offer(coded)
        self._hub.observe(self._hub.now() - pushed_s)

    def _work(self, tick: Tick, pushed_s: float) -> Callable[[], list[EncodedFrame] | list[EncodedSound]]:
        """What the executor is to do. Never kept by us, so that it does not outlive the work."""
        if not self._video:
            return functools.partial(self._encoder.encode, tick.pcm_48k, tick.pts_48k)
        key = self._key_wanted and pushed_s - self._last_key_s >= MIN_KEY_GAP_S
        return functools.partial(self._encoder.encode, tick.frame, tick.pts_48k * VIDEO_RATE // SOUND_RATE, key)
