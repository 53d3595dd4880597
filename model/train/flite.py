"""Speaks a sentence with the flite program and reads its phone times. Knows nothing of classes or mouths."""

import io
import os
import re
import shutil
import subprocess
import tempfile
import wave

import numpy as np

_SEGMENT = re.compile(r"(\S+):(\d+\.\d+)")


def speak(text: str, voice: str, stretch: float, f0_hz: float | None) -> tuple[np.ndarray, int, list]:
    """Sound (float32), its rate, and (CMU phone, start_s, end_s) from the same run, so that the times are true."""
    program = shutil.which("flite")
    if program is None:
        raise RuntimeError("the flite program is missing: install Debian's package flite (apt-get install flite)")
    command = [program, "-voice", voice, "--setf", f"duration_stretch={stretch:.3f}"]
    if f0_hz is not None:
        command += ["--setf", f"int_f0_target_mean={f0_hz:.1f}"]
    # flite writes its file by seeking, so it cannot be given a pipe.
    handle, path = tempfile.mkstemp(suffix=".wav", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    os.close(handle)
    try:
        done = subprocess.run([*command, "-psdur", "-t", f" {text}", "-o", path], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"flite failed on {text!r} with voice {voice}: {done.stderr.strip()}")
        with open(path, "rb") as file:
            written = file.read()
    finally:
        os.unlink(path)
    with wave.open(io.BytesIO(written)) as reader:
        rate = reader.getframerate()
        pcm = np.frombuffer(reader.readframes(reader.getnframes()), np.int16).astype(np.float32) / 32768
    phones, start_s = [], 0.0
    for name, end in _SEGMENT.findall(done.stdout):
        phones.append((name, start_s, float(end)))
        start_s = float(end)
    if not phones:
        raise RuntimeError(f"flite printed no phone times for {text!r}")
    return pcm, rate, phones
