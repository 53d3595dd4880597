"""Speaks a sentence with eSpeak NG's shared library and collects its phoneme events. Knows nothing of mouths.

The library keeps one voice and one callback per process, so this module does too. It also keeps some state from
sentence to sentence: only a fresh process that says the same things in the same order makes the same samples.
"""

import ctypes
import functools

import numpy as np

_SYNCHRONOUS, _PHONEME_EVENTS, _PHONEME_IPA, _DONT_EXIT = 2, 1, 2, 0x8000
_UTF8 = 1
_LIST_END, _PHONEME = 0, 7
_RATE, _PITCH, _RANGE = 1, 3, 4
_LONGEST_CLOSURE_S = 0.09


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("string", ctypes.c_char * 8),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Engine:
    def __init__(self):
        try:
            self.library = ctypes.CDLL("libespeak-ng.so.1")
        except OSError as error:
            raise RuntimeError(
                "eSpeak NG's library is missing: install Debian's package libespeak-ng1 (apt-get install libespeak-ng1)"
            ) from error
        options = _PHONEME_EVENTS | _PHONEME_IPA | _DONT_EXIT
        self.rate = self.library.espeak_Initialize(_SYNCHRONOUS, 0, None, options)
        if self.rate <= 0:
            raise RuntimeError("eSpeak NG did not start: install Debian's package espeak-ng-data")
        self.blocks: list[np.ndarray] = []
        self.events: list[tuple[str, int]] = []
        self._callback = _Callback(self._collect)  # kept: the library holds only a bare pointer to it
        self.library.espeak_SetSynthCallback(self._callback)

    def _collect(self, wav, count, events) -> int:
        if wav and count > 0:
            self.blocks.append(np.ctypeslib.as_array(wav, (count,)).copy())
        i = 0
        while events[i].type != _LIST_END:
            if events[i].type == _PHONEME:
                # Eight bytes may cut the last letter of a long name.
                self.events.append((events[i].string.decode("utf-8", "ignore"), events[i].sample))
            i += 1
        return 0


@functools.cache
def _engine() -> _Engine:
    return _Engine()


def speak(text: str, voice: str, words_per_minute: int, pitch: int, pitch_range: int) -> tuple[np.ndarray, int, list]:
    """Sound (float32), its rate, and (IPA phoneme, start_s, end_s); an empty phoneme is a pause. Pitch is 0..99."""
    engine = _engine()
    if engine.library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise RuntimeError(f"eSpeak NG has no voice {voice!r}: install Debian's package espeak-ng-data")
    for parameter, value in ((_RATE, words_per_minute), (_PITCH, pitch), (_RANGE, pitch_range)):
        engine.library.espeak_SetParameter(parameter, value, 0)
    engine.blocks.clear()
    engine.events.clear()
    line = text.encode()
    status = engine.library.espeak_Synth(line, len(line) + 1, 0, 1, 0, _UTF8, None, None)
    if status != 0 or not engine.blocks:
        raise RuntimeError(f"eSpeak NG failed on {text!r} with voice {voice!r} (status {status})")
    pcm_s16 = np.concatenate(engine.blocks)
    return pcm_s16.astype(np.float32) / 32768, engine.rate, _times(engine.events, pcm_s16, engine.rate)


def _times(events: list[tuple[str, int]], pcm_s16: np.ndarray, rate: int) -> list:
    events = [(name, sample) for name, sample in events if not name.startswith("(")]  # a switch of language
    names = [name for name, _ in events]
    starts = [min(sample, len(pcm_s16)) for _, sample in events]
    level = np.abs(pcm_s16.astype(np.int32))
    loud = np.flatnonzero(level > 0.015 * level.max())  # some voices have an echo that fills the gaps
    for i in range(1, len(starts)):
        # A voiceless stop is announced at its burst; the closure is the gap before it.
        if names[i] and names[i - 1] and names[i][0] in "ptkcq":
            before = np.searchsorted(loud, starts[i])
            silent_from = loud[before - 1] + 1 if before else 0
            floor = max(starts[i] - int(_LONGEST_CLOSURE_S * rate), starts[i - 1])
            starts[i] = max(silent_from, floor) if silent_from < starts[i] else starts[i]
    ends = [*starts[1:], len(pcm_s16)]
    return [(name, start / rate, end / rate) for name, start, end in zip(names, starts, ends, strict=True)]
