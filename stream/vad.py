"""Hears whether there is speech: silero-vad's network, and what follows from its probabilities. Knows nothing of the
timeline, of pictures, or of who speaks.

Two uses. Events (speech started, stopped) are for people and bots: slow to start, so that a cough is none. The gate is
for the model's copy of the sound, so that noise and music do not move the mouth: quick to open, and it opens into the
past, since the model hears each chunk only once its look-ahead is there.
"""

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnxruntime

from stream.events import SpeechStarted, SpeechStopped

MODEL_RATE = 16_000
BLOCK = 512  # samples per decision; the network takes no other length
CONTEXT = 64  # samples of the block before that it sees again


@dataclass(frozen=True)
class VadConfig:
    start_probability: float = 0.5
    stop_probability: float = 0.35
    start_blocks: int = 2  # in a row, 64 ms
    stop_s: float = 0.3
    gate_probability: float = 0.3
    gate_hangover_s: float = 0.25
    gate_hint: float = 0.2  # already this opens, but not for long: a soft onset goes on to be sure, music does not
    gate_hint_s: float = 0.064
    gate_before_s: float = 0.2  # opened into the past: soft onsets come before the network is sure
    gate_fade_s: float = 0.01


@lru_cache(maxsize=1)
def _network() -> onnxruntime.InferenceSession:
    """The network, shared: its memory is passed in and out. The package itself is not imported, it would load torch."""
    package = importlib.util.find_spec("silero_vad")
    if package is None or not package.submodule_search_locations:
        raise RuntimeError("speech detection needs the silero-vad package: pip install 'silero-vad>=6.2.3,<7'")
    path = Path(package.submodule_search_locations[0]) / "data" / "silero_vad.onnx"
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def prepare() -> None:
    """Load the network now (a tenth of a second) rather than under the first listener."""
    Detector().peek(np.zeros(BLOCK, np.int16))


class Detector:
    """Probability of speech for each block of one stream."""

    def __init__(self) -> None:
        self._memory = np.zeros((2, 1, 128), np.float32)
        self._context = np.zeros(CONTEXT, np.float32)
        self._rate = np.array(MODEL_RATE, np.int64)

    def step(self, block_s16: np.ndarray) -> float:
        """Hear one block."""
        probability, self._memory, self._context = self._run(block_s16)
        return probability

    def peek(self, block_s16: np.ndarray) -> float:
        """What one would hear, the stream unchanged."""
        return self._run(block_s16)[0]

    def _run(self, block_s16: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        assert len(block_s16) == BLOCK, f"the detector takes {BLOCK} samples, not {len(block_s16)}"
        heard = np.concatenate([self._context, block_s16.astype(np.float32) / 32768])
        probability, memory = _network().run(None, {"input": heard[None], "state": self._memory, "sr": self._rate})
        return float(probability[0, 0]), memory, heard[-CONTEXT:]


class SpeechEvents:
    """Attack and release: probabilities per block in, speech started and stopped out."""

    def __init__(self, config: VadConfig) -> None:
        self._config = config
        self._run_up = 0  # blocks in a row that sound like speech
        self._quiet_since: int | None = None
        self.speaking = False

    def step(self, probability: float, first_sample: int) -> SpeechStarted | SpeechStopped | None:
        """One block, beginning at `first_sample` of the 16 kHz stream."""
        if not self.speaking:
            self._run_up = self._run_up + 1 if probability >= self._config.start_probability else 0
            if self._run_up < self._config.start_blocks:
                return None
            self.speaking, self._quiet_since = True, None
            return SpeechStarted((first_sample - (self._run_up - 1) * BLOCK) / MODEL_RATE)
        if probability >= self._config.stop_probability:
            self._quiet_since = None
            return None
        if self._quiet_since is None:
            self._quiet_since = first_sample
        if first_sample + BLOCK - self._quiet_since < self._config.stop_s * MODEL_RATE:
            return None
        self.speaking, self._run_up = False, 0
        return SpeechStopped(self._quiet_since / MODEL_RATE)


class Gate:
    """Which stretches of the stream are let through, as stretches of samples; a gain with soft edges on request."""

    def __init__(self, config: VadConfig) -> None:
        self._before = round(config.gate_before_s * MODEL_RATE)
        self._fade = max(1, round(config.gate_fade_s * MODEL_RATE))
        self._config = config
        self._open: list[tuple[int, int]] = []  # (first, end), in order, apart from each other

    def step(self, probability: float, first_sample: int) -> None:
        if probability < self._config.gate_hint:
            return
        sure = probability >= self._config.gate_probability
        held_s = self._config.gate_hangover_s if sure else self._config.gate_hint_s
        first, end = first_sample - self._before, first_sample + BLOCK + round(held_s * MODEL_RATE)
        if self._open and first <= self._open[-1][1] + self._fade:
            self._open[-1] = (self._open[-1][0], max(end, self._open[-1][1]))
        else:
            self._open.append((first, end))

    def gains(self, first_sample: int, end_sample: int) -> np.ndarray:
        """Gain of each sample, as known now; what lies before `first_sample` may be forgotten."""
        while self._open and self._open[0][1] + self._fade <= first_sample:
            self._open.pop(0)
        gain = np.zeros(end_sample - first_sample, np.float32)
        at = np.arange(first_sample, end_sample, dtype=np.int64)
        for first, end in self._open:
            rise, fall = 1 + (at - first) / self._fade, 1 + (end - 1 - at) / self._fade
            np.maximum(gain, np.clip(np.minimum(rise, fall), 0.0, 1.0), out=gain)
        return gain


class Vad:
    """One stream's detector with both of its uses: `push` sound, then ask for `gains`."""

    def __init__(self, config: VadConfig | None = None, first_sample: int = 0) -> None:
        """`first_sample`: the position on the stream of what is pushed first."""
        config = config or VadConfig()
        self._detector = Detector()
        self._events = SpeechEvents(config)
        self._gate = Gate(config)
        self._known = np.zeros(BLOCK, np.int16)  # the last block, and after it what does not fill one yet
        self._next = first_sample  # of the block to come

    @property
    def speaking(self) -> bool:
        return self._events.speaking

    def push(self, pcm_16k: np.ndarray) -> list[SpeechStarted | SpeechStopped]:
        events = []
        self._known = np.concatenate([self._known, pcm_16k])
        while len(self._known) >= 2 * BLOCK:
            probability = self._detector.step(self._known[BLOCK : 2 * BLOCK])
            self._gate.step(probability, self._next)
            events.append(self._events.step(probability, self._next))
            self._known = self._known[BLOCK:]
            self._next += BLOCK
        return [event for event in events if event]

    def gains(self, first_sample: int, end_sample: int) -> np.ndarray:
        """What the gate lets through. The end of the stream that fills no block yet is heard in advance."""
        begun = len(self._known) - BLOCK
        if begun:
            probability = self._detector.peek(self._known[-BLOCK:])
            self._gate.step(probability, self._next + begun - BLOCK)
        return self._gate.gains(first_sample, end_sample)
