"""The process that draws for the designer: questions on its standard input, answers on its standard output.

    python -m model.drawing_process

A message is two lengths, u32 little endian, then so many bytes of JSON and so many bytes besides (a picture, or none). One
question is answered at a time. It ends when its input does, or after saying that it cannot draw here.
"""

import json
import os
import signal
import struct
import sys
from collections.abc import Callable
from typing import BinaryIO

LENGTHS = struct.Struct("<II")
YIELDS_BY = 5  # to the conversations on the same processor
LIBRARIES = "libgl1 libegl1"

Answer = tuple[dict, bytes]


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's, which then closes our input
    os.nice(YIELDS_BY)
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever else is printed is no answer
    try:
        answer = _answerer()
    except ImportError as problem:
        if _receive(questions):
            _send(answers, {"error": "unavailable", "detail": what_is_missing(problem)})
        return 1
    while question := _receive(questions):
        try:
            _send(answers, *answer(json.loads(question)))
        except ValueError as problem:
            _send(answers, {"error": "invalid", "detail": str(problem)})
        except RecursionError:
            _send(answers, {"error": "invalid", "detail": "what was sent is nested too deeply"})
    return 0


def _answerer() -> Callable[[dict], Answer]:
    """Raises ImportError where there is no Skia."""
    from model import designing

    def answer(question: dict) -> Answer:
        match question:
            case {"ask": "controls"}:
                return designing.controls(), b""
            case {"ask": "lot", "seed": seed, "species": species}:
                return {"seed": seed, "look": designing.drawn_by_lot(seed, species)}, b""
            case {"ask": "picture", "look": look, "size": size, "emotion": emotion}:
                return {}, designing.picture(look, size, emotion)
            case {"ask": "choices", "look": look, "field": field, "size": size}:
                return {}, designing.choices(look, field, size)
            case {"ask": "import", "text": text}:
                return designing.imported(text), b""
            case {"ask": "compose", "title": title, "look": look}:
                return {}, designing.composed(title, look)
        raise AssertionError(f"no such question: {question.get('ask')!r}")

    return answer


def what_is_missing(problem: ImportError) -> str:
    """What to install, for whoever runs the server."""
    if isinstance(problem, ModuleNotFoundError):
        return f"The designer draws with the Python package skia-python, which is not here ({problem}): run make setup"
    return (
        f"The designer draws with Skia, which needs system libraries that are not here ({problem}). On Debian or Ubuntu "
        f"install them with: sudo apt-get install {LIBRARIES}"
    )


def _receive(stream: BinaryIO) -> bytes:
    """The JSON of a question; nothing at the end."""
    lengths = stream.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        return b""
    size, _ = LENGTHS.unpack(lengths)
    return stream.read(size)


def _send(stream: BinaryIO, answer: dict, content: bytes = b"") -> None:
    encoded = json.dumps(answer).encode()
    stream.write(LENGTHS.pack(len(encoded), len(content)) + encoded + content)
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
