"""What goes wrong, and how it is said: for one film, or for all that would follow."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Problem:
    """Why there is no film of that name."""

    name: str
    message: str


class CannotGoOn(Exception):
    """No other film could be made either. What is finished stays."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Names the file where the disk refuses. Raises CannotGoOn."""
    try:
        yield
    except OSError as problem:
        raise CannotGoOn(f"cannot write {path}: {problem.strerror or problem}") from problem
