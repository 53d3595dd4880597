"""The speech sounds the lips tell apart: one set of classes for every synthesiser. Knows no sound and no mouth.

Class 0 is silence. Diphthongs are two classes in a row, so a class is always one posture.
"""

import unicodedata

PHONES: tuple[str, ...] = (
    "sil", "aa", "ae", "ah", "eh", "er", "ih", "iy", "ao", "ow", "uh", "uw", "ue", "oe",
    "w", "y", "r", "rr", "l", "m", "n", "ng", "p", "b", "t", "d", "k", "g",
    "f", "v", "th", "dh", "s", "z", "sh", "zh", "ch", "jh", "hh", "x",
)  # fmt: skip
PHONE_ID: dict[str, int] = {name: i for i, name in enumerate(PHONES)}
VOWELS = frozenset(PHONES[1:14])
CLOSED = frozenset("pbm")  # the lips touch
BITTEN = frozenset("fv")  # the lower lip touches the upper teeth

Timed = tuple[str, float, float]  # name, start_s, end_s

_CMU_PARTS: dict[str, tuple[tuple[str, float], ...]] = {
    "aw": (("aa", 0.55), ("uw", 0.45)),
    "ay": (("aa", 0.55), ("iy", 0.45)),
    "ey": (("eh", 0.5), ("iy", 0.5)),
    "ow": (("ow", 0.5), ("uw", 0.5)),
    "oy": (("ao", 0.55), ("iy", 0.45)),
    "el": (("ah", 0.4), ("l", 0.6)),
    "em": (("ah", 0.3), ("m", 0.7)),
    "en": (("ah", 0.3), ("n", 0.7)),
}
_CMU_SAME = {"pau": "sil", "h#": "sil", "brth": "sil", "ax": "ah", "axr": "er", "dx": "d", "nx": "n", "hv": "hh"}

_IPA = {
    "a": "aa", "ɑ": "aa", "æ": "ae", "ɐ": "ah", "ʌ": "ah", "ə": "ah", "ɘ": "ah", "ɤ": "ah", "ɜ": "er", "ɝ": "er",
    "ɚ": "er", "ɵ": "oe", "e": "eh", "ɛ": "eh", "i": "iy", "ɪ": "ih", "ɨ": "ih", "ᵻ": "ih", "ɯ": "ih", "o": "ow",
    "ɔ": "ao", "ɒ": "ao", "u": "uw", "ʊ": "uh", "ʉ": "uw", "y": "ue", "ʏ": "ue", "ø": "oe", "œ": "oe", "ɶ": "oe",
    "ɥ": "ue", "w": "w", "ʍ": "w", "ɰ": "g", "j": "y", "ʝ": "y", "ɹ": "r", "ɻ": "r", "r": "rr", "ɾ": "rr", "ɽ": "rr",
    "ʀ": "x", "ʁ": "x", "l": "l", "ɫ": "l", "ɭ": "l", "ʎ": "l", "ɬ": "l", "m": "m", "ɱ": "m", "n": "n", "ɲ": "n",
    "ɳ": "n", "ŋ": "ng", "ɴ": "ng", "p": "p", "b": "b", "β": "b", "ɓ": "b", "t": "t", "ʈ": "t", "d": "d", "ɖ": "d",
    "k": "k", "c": "k", "q": "k", "ɡ": "g", "g": "g", "ɟ": "g", "f": "f", "ɸ": "f", "v": "v", "ʋ": "v", "θ": "th",
    "ð": "dh", "s": "s", "z": "z", "ʃ": "sh", "ʂ": "sh", "ɕ": "sh", "ʒ": "zh", "ʐ": "zh", "ʑ": "zh", "h": "hh",
    "ɦ": "hh", "ʔ": "hh", "ç": "x", "x": "x", "χ": "x", "ɣ": "x", "ħ": "x",
}  # fmt: skip
_AFFRICATES = {("t", "sh"): "ch", ("d", "zh"): "jh"}


def from_cmu(name: str) -> tuple[tuple[str, float], ...]:
    """The classes a phone of the CMU set passes through, with their shares of its time."""
    name = _CMU_SAME.get(name, name)
    if name in _CMU_PARTS:
        return _CMU_PARTS[name]
    if name not in PHONE_ID:
        raise ValueError(f"unknown CMU phone {name!r}: add it to model/train/phones.py")
    return ((name, 1.0),)


def from_ipa(symbol: str) -> tuple[tuple[str, float], ...]:
    """The same for a phoneme in IPA; an empty symbol is silence. Length and accent marks are ignored."""
    names: list[str] = []
    for letter in unicodedata.normalize("NFC", symbol):
        if letter in _IPA:
            name = _IPA[letter]
            joined = _AFFRICATES.get((names[-1], name)) if names else None
            if joined:
                names[-1] = joined
            else:
                names.append(name)
        else:
            plain = unicodedata.normalize("NFD", letter)[0]  # a nasal vowel is its vowel
            if plain in _IPA:
                names.append(_IPA[plain])
            elif unicodedata.category(letter) in ("Ll", "Lo"):
                raise ValueError(f"unknown IPA letter {letter!r} in {symbol!r}: add it to model/train/phones.py")
    return tuple((name, 1 / len(names)) for name in names) or (("sil", 1.0),)


def spread(parts: tuple[tuple[str, float], ...], start_s: float, end_s: float) -> list[Timed]:
    """Lay the classes of one phone over its time."""
    out, at = [], start_s
    for name, share in parts:
        out.append((name, at, at + share * (end_s - start_s)))
        at = out[-1][2]
    return out


def tidy(phones: list[Timed], duration_s: float) -> tuple[Timed, ...]:
    """Gapless, monotone, inside the sound: empty phones go, neighbouring silences join, the rest is silence."""
    out: list[Timed] = []
    at = 0.0
    for name, start_s, end_s in [*phones, ("sil", duration_s, duration_s)]:
        start_s, end_s = min(max(start_s, at), duration_s), min(end_s, duration_s)
        if start_s > at + 1e-9:
            out.append(("sil", at, start_s))
        if end_s > start_s + 1e-9:
            out.append((name, start_s, end_s))
        at = max(at, end_s if end_s > start_s else start_s)
    joined: list[Timed] = []
    for name, start_s, end_s in out:
        if joined and name == "sil" == joined[-1][0]:
            joined[-1] = ("sil", joined[-1][1], end_s)
        else:
            joined.append((name, start_s, end_s))
    return tuple(joined)
