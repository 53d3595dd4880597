"""What a stage of training is told: its section of a recipe file, and the flags that override it. Knows no stage.

A stage's settings are a frozen dataclass of plain values and paths, without defaults: every value is written in the recipe
(recipe.toml beside this file, unless another is named), and nowhere else.
"""

import argparse
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

RECIPE = Path(__file__).with_name("recipe.toml")
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}

Settings = TypeVar("Settings")


def read_recipe(kind: type[Settings], section: str, path: Path = RECIPE) -> Settings:
    """Raises ValueError that names the file, the section and the key: one unknown, missing, or of another type."""
    try:
        with path.open("rb") as file:
            sections = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as problem:
        raise ValueError(f"the recipe {path} cannot be read: {problem}") from problem
    if section not in sections:
        raise ValueError(f"{path} has no section [{section}]; it has {', '.join(sections)}")
    types, values = {field.name: field.type for field in fields(kind)}, sections[section]
    for word, names in (("unknown", values.keys() - types.keys()), ("missing", types.keys() - values.keys())):
        if names:
            raise ValueError(f"{path}, [{section}]: {word} {', '.join(sorted(names))}; its keys are {', '.join(types)}")
    return kind(**{name: _checked(values[name], types[name], f"{path}, [{section}] {name}") for name in types})


def _checked(value: Any, kind: type, where: str) -> Any:
    given = {Path: str, float: (float, int)}.get(kind, kind)
    if not isinstance(value, given) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{where} must be {WORDS[kind]}, is {value!r}")
    return kind(value)


def from_command_line(kind: type[Settings], section: str, description: str, said: list[str] | None = None) -> Settings:
    """The stage's section; every value of it has a flag of the same name. Ends the program where something is wrong."""
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--recipe", type=Path, default=RECIPE, help="a file of settings (%(default)s)")
    where.add_argument("--section", default=section, help="the section of it that holds this stage's (%(default)s)")
    chosen, _ = where.parse_known_args(said)
    parser = argparse.ArgumentParser(
        description=description, parents=[where], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    try:
        written = read_recipe(kind, chosen.section, chosen.recipe)
    except ValueError as problem:
        parser.error(str(problem))
    for field in fields(kind):
        how = {"action": argparse.BooleanOptionalAction} if field.type is bool else {"type": field.type}
        value = getattr(written, field.name)
        parser.add_argument("--" + field.name.replace("_", "-"), default=value, help="the recipe says %(default)s", **how)
    found = parser.parse_args(said)
    return kind(**{field.name: getattr(found, field.name) for field in fields(kind)})
