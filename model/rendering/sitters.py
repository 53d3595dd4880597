"""Who speaks in a film: a picture file, or a character that `server.py prepare` has made. Knows nothing of sound."""

from pathlib import Path

from PIL import Image

from model.portrait import read_portrait
from model.prepare import default_folder


def portrait(path: Path) -> Image.Image:
    """Raises ValueError where it is no picture that can be used."""
    try:
        return read_portrait(path.read_bytes())
    except OSError as problem:
        raise ValueError(f"the picture {path} cannot be read: {problem.strerror or problem}") from problem
    except ValueError as problem:
        raise ValueError(f"the picture {path} cannot be used: {problem}") from problem


def character_folder(name: str) -> Path | None:
    """The folder that is called so, or the character of that name among the user's own."""
    for folder in (Path(name), default_folder() / name):
        if (folder / "character.json").is_file():
            return folder
    return None
