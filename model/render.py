"""python server.py render: recordings and portraits become films, one or a list of them. The command line.

Who makes the pictures: the released model as its own program does (model/rendering/whole.py), or a live preset as a
session would show them (model/rendering/streamed.py).
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from model.loading import WEIGHTS, load
from model.offline import SamplingConfig
from model.offline_audio import AS_RELEASED, THROUGHOUT
from model.parallel import Group
from model.picture import SHORT_SIDE
from model.planning.budget import HUNYUAN_AVATAR, MODES
from model.presets import EMBEDDED, PRESETS
from model.rendering.films import file_hash, render
from model.rendering.problems import CannotGoOn, Problem
from model.rendering.ranks import joined
from model.rendering.rows import COLUMNS, Row, read_rows
from model.rendering.sitters import character_folder
from model.rendering.streamed import StreamedFilms, StreamSettings
from model.rendering.whole import ClipSettings, WholeFilms

STREAMED = tuple(name for name, preset in PRESETS.items() if preset.weights == EMBEDDED.name)
EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
SEED = 128  # of the released scripts
HEARING = {"as-released": AS_RELEASED, "throughout": THROUGHOUT}
# What the released model alone is told, with its defaults. None before: so that it is noticed where it means nothing.
CLIPS_ONLY = {
    "checkpoint": None, "image_size": SHORT_SIDE, "mode": "bf16", "hearing": "as-released", "cfg_scale": 7.5,
    "flow_shift": 5.0, "deepcache": True, "phases_follow_steps": False, "guidance_follows_scale": False,
}  # fmt: skip


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="server.py render",
        description="Makes films of people who speak recordings: one with --audio, or a list of them with --input. A film "
        "that is there is kept, so a run that was killed goes on when it is started again.",
        epilog=f"A list is a CSV file with the columns {', '.join(COLUMNS)}, paths being relative to the current folder; "
        "each row becomes videoid.mp4. Several GPUs make one film together: torchrun --nproc-per-node N server.py render …",
    )
    what = made.add_argument_group("what is made")
    what.add_argument("--input", type=Path, metavar="LIST", help="a list of films")
    what.add_argument("--audio", type=Path, help="for one film, what is said: any sound file")
    what.add_argument("--image", type=Path, help="and who says it: a portrait")
    what.add_argument("--prompt", default="", help="and the scene in words")
    what.add_argument("--character", metavar="NAME", help="who speaks, instead of pictures: a name, or a folder "
                      "that server.py prepare has made")  # fmt: skip
    what.add_argument("--out", type=Path, required=True, metavar="DIR", help="where films go; for one film also its name, "
                      "with .mp4")  # fmt: skip
    what.add_argument("--n-frames", type=_positive_int, metavar="N", help="the most pictures of a film (default: all that "
                      "the sound fills)")  # fmt: skip
    what.add_argument("--fps", type=float, default=25.0, help="pictures a second, where the list does not say: 25 or, from "
                      "the released model, 12.5 (%(default)g)")  # fmt: skip
    what.add_argument("--seed", type=int, default=SEED, help="another seed, another film (%(default)s)")

    how = made.add_argument_group("by which model")
    how.add_argument("--preset", choices=(*STREAMED, HUNYUAN_AVATAR.name), help=f"default: {HUNYUAN_AVATAR.name} with "
                     f"--checkpoint, else {EMBEDDED.name}, which comes along and needs no GPU")  # fmt: skip
    how.add_argument("--infer-steps", type=_positive_int, metavar="N", help="denoising steps (default: "
                     f"{SamplingConfig().steps}, or the live preset's own number)")  # fmt: skip

    clips = made.add_argument_group(f"only with {HUNYUAN_AVATAR.name}")
    clips.add_argument("--checkpoint", type=Path, metavar="DIR", help="the released weights")
    modes = "; ".join(f"{mode}: {what}" for mode, what in MODES.items())
    clips.add_argument("--mode", choices=MODES, help=f"{modes} (bf16)")
    clips.add_argument("--image-size", type=_positive_int, metavar="N", help=f"short side of the pictures ({SHORT_SIDE})")
    clips.add_argument("--cfg-scale", type=float, help="guidance (7.5)")
    clips.add_argument("--flow-shift", type=float, help="how much of the time is spent on coarse things (5)")
    clips.add_argument("--deepcache", action=argparse.BooleanOptionalAction, help="reuse tokens in two steps of five "
                       "(yes, as in the released program, which cannot do without)")  # fmt: skip
    clips.add_argument("--hearing", choices=HEARING, help="as-released: the first 16 s, the first half of the pictures at "
                       "12.5 fps; throughout: all of every recording (as-released)")  # fmt: skip
    clips.add_argument("--phases-follow-steps", action="store_true", default=None, help="phases of sampling take the same "
                       "shares of any --infer-steps; as released, they are those of 50")  # fmt: skip
    clips.add_argument("--guidance-follows-scale", action="store_true", default=None, help="--cfg-scale holds to the end; "
                       "as released, not beyond the tenth step")  # fmt: skip
    return made


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


_positive_int.__name__ = "whole number"  # in argparse's messages


def settled(command: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """What was asked for, defaults filled in. Exits with a message where it contradicts itself."""
    asked = command.parse_args(arguments)
    if bool(asked.input) == bool(asked.audio):
        command.error("say what to render: --input LIST, or --audio FILE for one film")
    if asked.input and (asked.image or asked.prompt):
        command.error("--image and --prompt are for one film; a list has its own")
    if asked.input and is_film(asked.out):
        command.error(f"a list becomes several films: --out must be a folder, not {asked.out}")
    if asked.audio and bool(asked.image) == bool(asked.character):
        command.error("say who speaks: --image FILE or --character NAME")
    asked.preset = asked.preset or (HUNYUAN_AVATAR.name if asked.checkpoint else EMBEDDED.name)
    given = [name for name in CLIPS_ONLY if getattr(asked, name) is not None]
    if given and asked.preset != HUNYUAN_AVATAR.name:
        command.error(f"--{given[0].replace('_', '-')} means nothing to the preset {asked.preset}")
    if asked.preset == HUNYUAN_AVATAR.name and not asked.checkpoint:
        command.error(f"the preset {asked.preset} needs its weights: --checkpoint DIR")
    for name in CLIPS_ONLY.keys() - set(given):
        setattr(asked, name, CLIPS_ONLY[name])
    return asked


def is_film(path: Path) -> bool:
    return path.suffix.lower() == ".mp4"


def rows_of(asked: argparse.Namespace) -> list[Row | Problem]:
    """Raises ValueError where the list is none."""
    if asked.input and asked.character:
        rows = read_rows(asked.input, ("image", "prompt"), asked.fps)
        return [replace(row, image=None) if isinstance(row, Row) else row for row in rows]
    if asked.input:
        return read_rows(asked.input, fps=asked.fps)
    name = asked.out.stem if is_film(asked.out) else asked.audio.stem
    return [Row(name, asked.audio, asked.image, asked.prompt, asked.fps)]


def path_of(row: Row, out: Path) -> Path:
    return out if is_film(out) else out / f"{row.name}.mp4"


def streamed(asked: argparse.Namespace) -> StreamedFilms:
    """Raises ValueError for an unknown character."""
    generator, name = load(asked.preset, torch.get_num_threads()), asked.character
    if name and name not in generator.characters:
        folder = character_folder(name)
        if folder is None:
            raise ValueError(f"there is no character {name!r}; there are: {', '.join(generator.characters)}")
        generator.characters[name] = generator.read(folder)
    weights = file_hash(WEIGHTS / f"{generator.preset.weights}.safetensors")
    return StreamedFilms(
        generator, StreamSettings(asked.preset, weights, name, asked.seed, asked.n_frames, asked.infer_steps)
    )


def whole(asked: argparse.Namespace, group: Group, device: torch.device) -> WholeFilms:
    """Raises ValueError where the checkpoint is incomplete, or the character is unknown."""
    from model.checkpoint import find

    return WholeFilms(find(asked.checkpoint, fp8=asked.mode == "fp8"), clip_settings(asked), device, asked.mode, group)


def clip_settings(asked: argparse.Namespace) -> ClipSettings:
    """Raises ValueError for an unknown character."""
    character = character_folder(asked.character) if asked.character else None
    if asked.character and character is None:
        raise ValueError(f"there is no character {asked.character!r}; server.py prepare makes one")
    default = SamplingConfig()
    return ClipSettings(
        checkpoint=str(asked.checkpoint.resolve()),
        character=character,
        image_size=asked.image_size,
        seed=asked.seed,
        most_frames=asked.n_frames,
        hearing=HEARING[asked.hearing],
        sampling=replace(
            default,
            steps=asked.infer_steps or default.steps,
            flow_shift=asked.flow_shift,
            guidance_scale=asked.cfg_scale,
            deepcache=asked.deepcache,
            phases_of_fifty_steps=not asked.phases_follow_steps,
            late_guidance_ignores_scale=not asked.guidance_follows_scale,
        ),
    )


def main(arguments: list[str]) -> int:
    """Renders; 0 where all films are there in the end. Exits with a message on nonsense, as argparse does."""
    asked = settled(parser(), arguments)
    group, device = joined(os.environ)
    try:
        return run(asked, group, device)
    except (ValueError, CannotGoOn) as problem:
        print(f"render: {problem}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("render: interrupted; the same command goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        group.leave()


def run(asked: argparse.Namespace, group: Group, device: torch.device) -> int:
    """What this rank has to do; returns the exit status. Raises ValueError and CannotGoOn."""
    if asked.preset in STREAMED:
        if group.size > 1:
            raise ValueError(f"the preset {asked.preset} runs in one process: start it without torchrun")
        rows = rows_of(asked)
        return summary(rows, render(rows, streamed(asked), lambda row: path_of(row, asked.out)))
    films = whole(asked, group, device)
    if group.rank > 0:
        films.follow()
        return 0
    rows = rows_of(asked)
    problems = render(rows, films, lambda row: path_of(row, asked.out))
    films.dismiss()
    return summary(rows, problems)


def summary(rows: Sequence[Row | Problem], problems: Sequence[Problem]) -> int:
    """The last words, and the exit status."""
    if not problems:
        return 0
    print(f"render: {len(rows) - len(problems)} of {len(rows)} films are there. These are not:", file=sys.stderr)
    for problem in problems:
        print(f"  {problem.name}: {problem.message}", file=sys.stderr)
    return EXIT_FAILED
