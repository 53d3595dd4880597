"""Queued speech of a bot: segments, marks, credits. Knows nothing of clocks, pictures or connections."""


class SpeechRefused(Exception):
    """Queued speech was not taken and nothing else changed; `code` is the word for the wire."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
