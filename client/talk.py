"""Speaks a sound file through a running server and saves the talking face as a video.

    python -m client.talk --server http://localhost:8080 --character ada --emotion happy --audio in.wav --out out.mp4

Picture and sound are written by their media time, so they are in step in the file whatever the network did.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np

from client.client import Bot, Flag, Kind, MediaFrame, Visavis, VisavisError
from stream import protocol

SEGMENT = 1
TAIL_US = 400_000  # of the face falling silent, kept after the last word
SILENT_SERVER_S = 10.0
BAR_WIDTH = 32
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def read_sound(path: Path) -> tuple[bytes, int]:
    """A sound file of any kind as mono 16-bit PCM, at its own rate where the protocol takes that."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise VisavisError(f"{path} has no sound in it")
            stream = container.streams.audio[0]
            rate = stream.rate if protocol.MIN_RATE <= stream.rate <= protocol.MAX_RATE else protocol.MAX_RATE
            to_mono = av.AudioResampler(format="s16", layout="mono", rate=rate)
            frames = [mono for frame in container.decode(stream) for mono in to_mono.resample(frame)]
            frames += to_mono.resample(None)
    except (OSError, av.FFmpegError) as error:
        raise VisavisError(f"cannot read sound from {path}: {error.strerror or error}") from None
    pcm = b"".join(frame.to_ndarray().astype("<i2", copy=False).tobytes() for frame in frames)
    if not pcm:
        raise VisavisError(f"{path} has no sound in it")
    return pcm, rate


class Recording:
    """An MP4 of what the server sends: its H.264 as it is, its PCM as AAC. Begins at the first key frame."""

    def __init__(self, path: Path, fps: int, audio_rate: int) -> None:
        self._path = path
        self._fps = fps
        self._rate = audio_rate
        self._container: av.container.OutputContainer | None = None
        self._base_us = 0
        self._samples = 0  # of sound written
        self.begun = asyncio.Event()
        self.sound_until_us = 0  # media time

    @property
    def seconds(self) -> float:
        return self._samples / self._rate

    def add(self, frame: MediaFrame) -> None:
        if frame.kind is Kind.VIDEO_OUT:
            self._add_picture(frame)
        else:
            self._add_sound(frame)

    def close(self) -> None:
        if self._container is not None:
            self._container.mux(self._audio.encode(None))
            self._container.close()
            self._container = None

    def _begin(self, key: MediaFrame) -> None:
        # The muxer wants to know size and parameter sets beforehand; they are read from the first key frame.
        with av.open(BytesIO(key.payload), format="h264") as parsed:
            self._container = av.open(str(self._path), "w", format="mp4")
            self._video = self._container.add_stream_from_template(parsed.streams.video[0])
        self._audio = self._container.add_stream("aac", rate=self._rate, layout="mono")
        self._base_us = key.pts_us
        self.begun.set()

    def _add_picture(self, frame: MediaFrame) -> None:
        if self._container is None:
            if Flag.KEY not in frame.flags:
                return
            self._begin(frame)
        packet = av.Packet(frame.payload)
        packet.stream = self._video
        packet.time_base = Fraction(1, 1_000_000)
        packet.pts = packet.dts = frame.pts_us - self._base_us
        packet.duration = 1_000_000 // self._fps
        packet.is_keyframe = Flag.KEY in frame.flags
        self._container.mux(packet)

    def _add_sound(self, frame: MediaFrame) -> None:
        if self._container is None:
            return
        samples = np.frombuffer(frame.payload, dtype="<i2")
        gap = round((frame.pts_us - self._base_us) * self._rate / 1e6) - self._samples
        # What was left out on the way is silence.
        samples = np.concatenate([np.zeros(gap, np.int16), samples]) if gap >= 0 else samples[-gap:]
        self.sound_until_us = frame.pts_us
        if samples.size:
            sound = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = self._rate, self._samples, Fraction(1, self._rate)
            self._container.mux(self._audio.encode(sound))
            self._samples += samples.size


class Progress:
    """A bar on a terminal, a line now and then elsewhere."""

    def __init__(self, total_s: float) -> None:
        self._total_s = total_s
        self._live = sys.stderr.isatty()
        self._shown = -1

    def show(self, done_s: float) -> None:
        done_s = min(max(done_s, 0.0), self._total_s)
        step = int(done_s / self._total_s * (200 if self._live else 10))
        if step == self._shown:
            return
        self._shown = step
        filled = round(done_s / self._total_s * BAR_WIDTH)
        line = f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {done_s:5.1f} of {self._total_s:.1f} s spoken"
        print(f"\r{line}" if self._live else line, end="" if self._live else "\n", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._live and self._shown >= 0:
            print(file=sys.stderr)


async def talk(
    server: str,
    character: str | None,
    sound: Path,
    out: Path,
    face: str | None = None,
    emotion: tuple[str, float] | None = None,
    **options: bool,
) -> float:
    """Speaks `sound` and writes `out`; returns its length in seconds. What was received is kept also on failure.

    `face` (a title) says it, all faces show `emotion` (name, intensity 0 … 1); `options` are those of the session, such
    as `probe=True`.
    """
    pcm, rate = read_sound(sound)
    part = out.with_name(out.name + ".part")
    try:
        part.touch()
    except OSError as error:
        raise VisavisError(f"cannot write {out}: {error.strerror}") from None
    try:
        async with Visavis(server) as visavis:
            session = await visavis.create_session(character, **options)
            try:
                async with session.connect(input_rate=rate, face=face) as bot:
                    if emotion:
                        await bot.emotion(*emotion)
                    return await _record(bot, pcm, rate, part)
            finally:
                await _end(session)
    finally:
        if part.stat().st_size:
            os.replace(part, out)
        else:
            part.unlink()


async def _end(session) -> None:
    with contextlib.suppress(VisavisError):  # it ends by itself soon
        await session.delete()


async def _record(bot: Bot, pcm: bytes, rate: int, path: Path) -> float:
    recording = Recording(path, bot.ready.output.fps, bot.ready.output.audio_rate)
    progress = Progress(len(pcm) / 2 / rate)

    async def speak() -> None:
        await recording.begun.wait()  # so that the first word is in the recording
        await bot.speak(pcm, SEGMENT)
        await bot.end_segment(SEGMENT)

    speaking = asyncio.create_task(speak())
    try:
        await _receive(bot, recording, progress)
    finally:
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
        progress.end()
        recording.close()
    return recording.seconds


async def _receive(bot: Bot, recording: Recording, progress: Progress) -> None:
    started_us = finished_us = None
    while finished_us is None or recording.sound_until_us < finished_us + TAIL_US:
        try:
            received = await asyncio.wait_for(anext(bot), SILENT_SERVER_S)
        except StopAsyncIteration:
            raise VisavisError("the server ended the session before the speech was over") from None
        except TimeoutError:
            raise VisavisError(f"the server has said nothing for {SILENT_SERVER_S:.0f} s") from None
        match received:
            case MediaFrame():
                recording.add(received)
                if started_us is not None:
                    progress.show((recording.sound_until_us - started_us) / 1e6)
            case protocol.PlaybackStarted():
                started_us = received.pts_us
            case protocol.PlaybackFinished(interrupted=True):
                raise VisavisError("the speech was interrupted by another client of the session")
            case protocol.PlaybackFinished():
                finished_us = received.pts_us
            case protocol.Error():
                raise VisavisError(f"the server refused: {received.message}")
            case protocol.Closed():
                raise VisavisError(f"the session ended before the speech was over: {received.reason}")


def named_emotion(words: str) -> tuple[str, float]:
    """happy, or happy:0.5 for half of it."""
    name, _, intensity = words.partition(":")
    return name, float(intensity or 1)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m client.talk", description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="http://localhost:8080", metavar="URL", help="default: %(default)s")
    parser.add_argument("--character", metavar="NAME", help="who speaks (default: the server's first character)")
    parser.add_argument("--face", metavar="TITLE", help="whose mouth moves, where the character has several faces")
    parser.add_argument(
        "--emotion", type=named_emotion, metavar="NAME[:0.5]", help="how all faces look, and how much of it (0 to 1)"
    )
    parser.add_argument("--audio", type=Path, required=True, metavar="in.wav", help="what to say: any sound file")
    parser.add_argument("--out", type=Path, required=True, metavar="out.mp4", help="where to save the video")
    chosen = parser.parse_args(arguments)
    try:
        told = chosen.server, chosen.character, chosen.audio, chosen.out, chosen.face, chosen.emotion
        seconds = asyncio.run(talk(*told))
    except VisavisError as error:
        again = f"; try again in {error.retry_after_s:.0f} s" if error.retry_after_s else ""
        print(f"talk: {error}{again}", file=sys.stderr)
        if chosen.out.exists():
            print(f"talk: what was received so far is in {chosen.out}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("talk: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    print(f"{chosen.out}: {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
