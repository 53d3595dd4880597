"""Whose face is meant and how it is to look: what a client names, checked against what there is. Knows no session."""

from stream.messages import Emotion


class NotThere(Exception):
    """A face or an emotion that does not exist. The message lists those there are; `code` is the word for the wire."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def face_index(faces: tuple[str, ...], named: int | str | None) -> int:
    """A face by its index or its title, which may be written in any case; None is the first. Raises NotThere."""
    if named is None:
        return 0
    if isinstance(named, int) and 0 <= named < len(faces):
        return named
    for index, title in enumerate(faces):
        if isinstance(named, str) and title.casefold() == named.casefold():
            return index
    listed = ", ".join(f"{index} {title}" for index, title in enumerate(faces))
    raise NotThere("unknown_face", f"no face {named!r}; name one by its index or title: {listed}")


def expression(emotions: tuple[str, ...], name: str, intensity: float) -> Emotion:
    """Raises NotThere."""
    if not emotions:
        raise NotThere("no_emotions", "this model shows no emotions; run a preset that was trained with them")
    if name not in emotions:
        raise NotThere("unknown_emotion", f"no emotion {name!r}; there are {', '.join(emotions)}")
    return Emotion(name, intensity)
