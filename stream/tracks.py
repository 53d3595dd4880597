"""The media of one WebRTC connection: coded picture and sound out, the microphone in. Knows nothing of signalling."""

from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from stream.aiortc_fixes import MediaClock
from stream.clock import Clock
from stream.encoder import SOUND_RATE, VIDEO_RATE, CodedReader, EncodedFrame, EncoderHub, StreamEnded

MAX_FILL_SAMPLES = SOUND_RATE * 2 // 5  # a longer gap is a source that paused: the session begins anew with it


class AvatarTrack(MediaStreamTrack):
    """Picture or sound of a session, as coded by its EncoderHub, each packet leaving when it is due.

    Both tracks carry the pts of the tick their content came from. Reading from the hub begins with `open`, when the
    connection stands and the codec is known.
    """

    def __init__(self, kind: str, hub: EncoderHub, media_clock: MediaClock, clock: Clock | None = None) -> None:
        super().__init__()
        self.kind = kind
        self._hub = hub
        self._media_clock = media_clock
        self._clock = clock or Clock()
        self._reader: CodedReader | None = None

    @property
    def codec(self) -> str | None:
        return self._reader.codec if self._reader else None

    @property
    def dropped(self) -> int:
        """Packets that this connection was too slow to take."""
        return self._reader.dropped if self._reader else 0

    def open(self, codec: str) -> None:
        try:
            self._reader = self._hub.subscribe(codec)
        except StreamEnded as ended:
            raise MediaStreamError(str(ended)) from None

    def request_key(self) -> None:
        if self._reader:
            self._reader.request_key()

    def set_bitrate(self, bps: int) -> None:
        if self._reader:
            self._reader.set_bitrate(bps)

    async def recv(self) -> av.Packet:
        if self._reader is None or self.readyState != "live":
            raise MediaStreamError("the track is not open")
        try:
            coded = await self._reader.get()
        except StreamEnded:
            self.stop()
            raise MediaStreamError("the session has ended") from None
        if coded.due_s > self._clock.now():
            await self._clock.sleep_until(coded.due_s)
        self._media_clock.observe(coded.media_s, coded.due_s)
        packet = av.Packet(coded.data)
        if isinstance(coded, EncodedFrame):
            packet.pts, packet.time_base = coded.pts_90k, Fraction(1, VIDEO_RATE)
        else:
            packet.pts, packet.time_base = coded.pts_48k, Fraction(1, SOUND_RATE)
        return packet

    def stop(self) -> None:
        super().stop()
        if self._reader:
            self._reader.close()


class GapFiller:
    """Tells how much silence belongs before a decoded frame, so that the microphone's sample clock has no holes."""

    def __init__(self, max_fill_samples: int = MAX_FILL_SAMPLES) -> None:
        self._max_fill = max_fill_samples
        self._expected: int | None = None
        self.filled_samples = 0

    def silence_before(self, pts: int, samples: int) -> int:
        gap = pts - self._expected if self._expected is not None else 0
        self._expected = pts + samples
        if not 0 < gap <= self._max_fill:
            return 0
        self.filled_samples += gap
        return gap


def to_mono(frame: av.AudioFrame) -> np.ndarray:
    """Packed or planar s16 of any layout to mono int16, by the mean of the channels."""
    pcm = frame.to_ndarray()
    if pcm.dtype != np.int16:
        raise ValueError(f"decoded sound is {pcm.dtype}, expected int16")
    channels = frame.layout.nb_channels
    if channels == 1:
        return pcm.reshape(-1)
    by_sample = pcm.T if frame.format.is_planar else pcm.reshape(-1, channels)
    return by_sample.mean(axis=1).astype(np.int16)


class Microphone:
    """Reads an incoming track for as long as it lives, and pushes every piece of sound on at once."""

    def __init__(self, track: MediaStreamTrack, push: Callable[[np.ndarray, int], None]) -> None:
        self._track = track
        self._push = push
        self._gaps = GapFiller()
        self.received_samples = 0

    @property
    def filled_samples(self) -> int:
        return self._gaps.filled_samples

    async def run(self) -> None:
        """Returns when the track ends."""
        while True:
            try:
                frame = await self._track.recv()
            except MediaStreamError:
                return
            pcm = to_mono(frame)
            silence = self._gaps.silence_before(frame.pts, len(pcm))
            if silence:
                self._push(np.zeros(silence, np.int16), frame.sample_rate)
            self._push(pcm, frame.sample_rate)
            self.received_samples += len(pcm)
