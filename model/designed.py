"""Makes a character folder of a drawn design: server.py design ann.json --name ann

The face's place is known exactly and the picture is the embedded model's own world, so nothing is detected, cut or judged.
The folder keeps its design (`design.json`, as model/design_file.py writes it), so that it can be changed later.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from model.character import save_character
from model.design_file import read, written
from model.drawing_process import what_is_missing
from model.drawn import Drawn, unpacked
from model.fit import still_latents
from model.portrait import read_portrait
from model.prepare import NAME, default_folder
from model.prepared import mark, whole_or_not_at_all
from model.presets import EMBEDDED, Preset
from model.tiny_vae import TinyVAE

DESIGN = "design.json"


def prepare_drawn(
    drawn: Drawn, name: str, vae: TinyVAE, folder: Path, tell: Callable[[str], None], preset: Preset = EMBEDDED,
    replaces: bool = False,
) -> None:  # fmt: skip
    """Writes folder/name, which may be there only if it `replaces` that; `tell` is told each stage.

    Raises ValueError for a picture of another size than the model's."""
    still, shown = read_portrait(drawn.still_png), read_portrait(drawn.shown_png)
    height, width = preset.painted
    if still.size != (width, height):
        raise ValueError(f"the drawn picture is {still.width}x{still.height}, and the model's are {width}x{height}")
    tell("latents")
    latents = still_latents(vae, still)
    tell("writing")
    title = drawn.design.title
    with _in_place_of(folder / name) if replaces else whole_or_not_at_all(folder / name) as place:
        save_character(place, title, {title.split(",")[0]: drawn.box}, latents)
        mark(place, preset.characters_of, vae)
        (place / DESIGN).write_text(written(drawn.design))
        shown.save(place / "picture.png")


@contextmanager
def _in_place_of(folder: Path) -> Iterator[Path]:
    """As `whole_or_not_at_all`, where one of that name may be there already. Whoever has read that one keeps it.

    Between two renames it has its `.name-old` alone; who is cut off there finds it put back by stream/put_back.py."""
    new, old = (folder.with_name(f".{folder.name}-{which}") for which in ("new", "old"))
    _put_back(old, folder)
    for left_over in (new, old):
        shutil.rmtree(left_over, ignore_errors=True)
    with whole_or_not_at_all(new) as place:
        yield place
    try:
        if folder.exists():
            os.rename(folder, old)
        os.rename(new, folder)
    except OSError as problem:
        _put_back(old, folder)
        shutil.rmtree(new, ignore_errors=True)
        raise ValueError(f"character {folder.name} cannot be replaced: {problem.strerror or problem}") from problem
    shutil.rmtree(old, ignore_errors=True)


def _put_back(old: Path, folder: Path) -> None:
    if old.exists() and not folder.exists():
        with suppress(OSError):
            os.rename(old, folder)


# --- the command -----------------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    try:
        _design(options)
    except OSError as problem:
        print(f"server.py design: {options.file} cannot be read: {problem.strerror or problem}", file=sys.stderr)
        return 1
    except ValueError as problem:
        print(f"server.py design: {problem}", file=sys.stderr)
        return 1
    print(options.out / options.name)
    return 0


def _design(options: argparse.Namespace) -> None:
    if not NAME.fullmatch(options.name):
        raise ValueError(f"{options.name!r} is no name: use a to z, digits, - and _, 40 at most, a letter or digit first")
    try:
        from model.designing import composed
    except ImportError as problem:
        raise ValueError(what_is_missing(problem)) from problem
    from model.loading import load

    design, changes = read(options.file.read_text())
    for change in changes:
        print(change, file=sys.stderr)
    drawn = unpacked(composed(options.title or design.title, design.look.to_dict()))
    vae = load(EMBEDDED.name).vae
    prepare_drawn(drawn, options.name, vae, options.out, lambda stage: None, replaces=options.replace)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="server.py design", description="Make a character of a design file.")
    parser.add_argument("file", type=Path, help="what the page's designer exports")
    parser.add_argument("--name", required=True, help="the character's name in addresses, and its folder's")
    parser.add_argument("--title", help="what people read (default: what the file says)")
    parser.add_argument("--replace", action="store_true", help="also where there is a character of that name")
    parser.add_argument("--out", type=Path, default=default_folder(), help="folder of characters (%(default)s)")
    return parser
