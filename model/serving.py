"""What a serving worker loads: a generator by its preset, and characters of whatever the server hands it.

A picture from outside takes the way of model/prepare.py, a drawn design that of model/designed.py.
"""

from collections.abc import Callable
from pathlib import Path

from model import loading
from model.drawn import is_drawn, unpacked
from model.live import Live
from model.loading import load
from model.presets import EMBEDDED

__all__ = ["load", "prepare"]


def prepare(
    generator: Live, portrait: bytes, name: str, title: str, faces: str | None, anyway: bool, folder: Path,
    tell: Callable[[str], None],
) -> dict[str, float | bool]:  # fmt: skip
    """As `model.loading.prepare`; of a drawn design no fit is measured, and it says its title and face itself."""
    if not is_drawn(portrait):
        return loading.prepare(generator, portrait, name, title, faces, anyway, folder, tell)
    if generator.preset.weights != EMBEDDED.name:
        raise ValueError(
            f"a drawn character is for the preset {EMBEDDED.name}; this server runs {generator.preset.name}, whose "
            f"characters server.py prepare --checkpoint makes of pictures"
        )
    from model.designed import prepare_drawn  # what else it brings waits until there is something to make

    prepare_drawn(unpacked(portrait), name, generator.vae, folder, tell, generator.preset)
    return {}
