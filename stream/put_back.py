"""Characters whose change was cut short between two renames get their folder back, before anybody reads it."""

import logging
from pathlib import Path

log = logging.getLogger(__name__)


def put_back(characters: Path) -> None:
    """`.name-old`, as model/designed.py leaves it, becomes `name` again where there is none. Raises nothing."""
    for old in sorted(characters.glob(".*-old")):
        folder = characters / old.name[1:].removesuffix("-old")
        if folder.exists():
            continue
        try:
            old.rename(folder)
        except OSError as problem:
            log.warning("character %s cannot be put back: %s", folder.name, problem)
        else:
            log.warning("the change of character %s was cut short: it is as it was before", folder.name)
