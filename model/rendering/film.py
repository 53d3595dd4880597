"""An MP4 with sound: H.264 and AAC, written picture by picture together with the sound that belongs to them.

It has a temporary name until it is whole, so a file that bears the film's name is a finished film. Makes no pictures.
"""

import contextlib
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace

from model.rendering.problems import writing
from model.rendering.recording import FILM_RATE

QUALITY = {"crf": "17", "preset": "medium"}  # x264's; at 18 it already is hard to tell from the pictures themselves
SOUND_BITRATE = 128_000
BT709, LIMITED_RANGE = 1, 1  # as H.264 numbers them; players guess where it is not said


class Film:
    """One film in the making: `with Film(…) as film`, and `add` pictures in order. Left by an exception, it leaves no file.

    The sound begins with the first picture and ends with the last one. `note` is kept in the file."""

    def __init__(self, path: Path, fps: float, pcm_48k: np.ndarray, note: str) -> None:
        """Raises CannotGoOn, before anybody has made a picture for nothing."""
        self.path, self._part = path, path.with_name(path.name + ".part")
        self._fps, self._pcm_48k = Fraction(fps), pcm_48k
        self._pictures = self._samples = 0
        with writing(path):
            self._file = self._part.open("wb")
            self._container = av.open(self._file, "w", format="mp4")  # a Python file tells errors of the disk as they are
        self._container.metadata["comment"] = note
        self._video = self._container.add_stream("libx264", rate=self._fps, options=QUALITY)
        self._video.pix_fmt = "yuv420p"
        coding = self._video.codec_context
        coding.colorspace = coding.color_primaries = coding.color_trc = BT709
        coding.color_range = LIMITED_RANGE
        self._sound = self._container.add_stream("aac", rate=FILM_RATE, layout="mono", bit_rate=SOUND_BITRATE)

    @property
    def seconds(self) -> float:
        return float(self._pictures / self._fps)

    def add(self, pictures: np.ndarray) -> None:
        """f H W 3 uint8. Raises CannotGoOn."""
        if not self._video.codec_context.is_open:
            _, self._video.height, self._video.width, _ = pictures.shape
        with writing(self.path):
            for picture in pictures:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
                frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
                frame.pts, frame.time_base = self._pictures, 1 / self._fps
                self._container.mux(self._video.encode(frame))
                self._pictures += 1
            self._container.mux(self._sound.encode(self._sound_until(round(self._pictures / self._fps * FILM_RATE))))

    def _sound_until(self, end: int) -> av.AudioFrame:
        """The next samples, silence where the recording is over."""
        own = self._pcm_48k[self._samples : end]
        own = np.pad(own, (0, end - self._samples - len(own)))
        frame = av.AudioFrame.from_ndarray(own[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = FILM_RATE, self._samples, Fraction(1, FILM_RATE)
        self._samples = end
        return frame

    def __enter__(self) -> "Film":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        try:
            if kind is None:
                with writing(self.path):
                    self._finish()
        finally:
            for opened in (self._container, self._file):
                with contextlib.suppress(OSError, av.FFmpegError):  # the disk's refusal has been told
                    opened.close()
            self._part.unlink(missing_ok=True)

    def _finish(self) -> None:
        for stream in (self._video, self._sound):
            self._container.mux(stream.encode(None))
        self._container.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._part.replace(self.path)


def note_of(path: Path) -> str | None:
    """What a film was given to note; None where the file says nothing that can be read."""
    try:
        with av.open(str(path)) as container:
            return container.metadata.get("comment")
    except (OSError, av.FFmpegError):
        return None
