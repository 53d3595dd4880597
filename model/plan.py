"""python server.py plan: memory, work and frame rate of a preset on given GPUs, before anybody rents one.

The command line, and how figures are shown; where they come from, model/planning/budget.py and its uses know.
"""

import argparse
import json
import math

from model.dit import DiTConfig
from model.picture import LONG_SIDES, SHORT_SIDE, fitted_size
from model.planning.budget import (
    CLIP_TEXT_PARAMETERS,
    H100_GB,
    H100_TFLOPS,
    HUNYUAN_AVATAR,
    LLAVA_PARAMETERS,
    MODES,
    NVLINK_GBPS,
    PCIE_GBPS,
    SUBJECTS,
    VAE_PARAMETERS,
    VALUE_BYTES,
    Figure,
    Machine,
    Sections,
    Subject,
    bytes_by_part,
    shown,
)
from model.planning.budget_clip import Clip
from model.planning.budget_stream import Stream
from model.planning.footprint import parameters

# --- what is asked for -------------------------------------------------------------------------------------------------


def picture_size(subject: Subject, asked: str | None) -> tuple[int, int]:
    """Width and height. A single number is a short side, and stands for the largest picture that it allows.

    Raises ValueError for what the model is never given."""
    sides = _sides(asked or "x".join(map(str, subject.only_size or (SHORT_SIDE,))))
    if only := subject.only_size:
        if sides not in (only, only[:1]):
            raise ValueError(f"{subject.name} makes pictures of {only[0]}x{only[1]} only, not of {asked}")
        return only
    if len(sides) == 1:
        (short,) = sides
        return fitted_size(short, round(LONG_SIDES.get(short, 1.5 * short)), short)
    fitted = fitted_size(*sides, min(sides))
    if fitted != sides:
        raise ValueError(f"no picture is made at {asked}; the nearest size is {fitted[0]}x{fitted[1]}")
    return fitted


def _sides(asked: str) -> tuple[int, ...]:
    sides = asked.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise ValueError(f"an image size is a short side (704) or width x height (704x1216), not {asked!r}")
    return tuple(map(int, sides))


def check_gpus(config: DiTConfig, gpus: int) -> None:
    """Raises ValueError where the heads cannot be divided evenly."""
    if gpus < 1 or config.num_heads % gpus:
        possible = ", ".join(str(n) for n in range(1, config.num_heads + 1) if config.num_heads % n == 0)
        raise ValueError(f"{config.num_heads} heads cannot be divided over {gpus} GPUs; possible are {possible}")


# --- all that is said -------------------------------------------------------------------------------------------------


def sections_of(clip: Clip | None, stream: Stream) -> Sections:
    """Everything that is to be said; without `clip` where the model makes none offline."""
    sections = {"assumed": _assumed(stream.machine), "weights on each GPU": _weights(stream)}
    if clip:
        sections |= clip.sections
    sections |= stream.sections
    if clip:
        sections["only while a character is prepared"] = [
            Figure("LLaVA-Llama-3-8B, for prompt and picture", VALUE_BYTES * LLAVA_PARAMETERS, "B"),
            Figure("CLIP ViT-L/14, for the prompt", VALUE_BYTES * CLIP_TEXT_PARAMETERS, "B"),
        ]
    return sections


def _assumed(machine: Machine) -> list[Figure]:
    return [
        Figure("a GPU computes (--tflops)", machine.tflops * 1e12, "operations/s"),
        Figure("a GPU sends to others (--link-gbps)", machine.link_gbps * 1e9, "B/s"),
        Figure("a GPU fetches from the host (--host-gbps)", machine.host_gbps * 1e9, "B/s"),
        Figure("a GPU holds (--gpu-gb)", machine.gpu_gb * 1e9, "B"),
    ]


def _weights(stream: Stream) -> list[Figure]:
    mode, sizes = stream.machine.mode, bytes_by_part(stream.dit, stream.machine.mode)
    figures = [
        Figure("transformer, parameters", parameters(stream.dit)),
        *(Figure(f"transformer: {part}", size, "B") for part, size in sizes.items()),
        Figure("transformer", sum(sizes.values()), "B"),
    ]
    if stream.subject.offline:
        figures.append(Figure("VAE, offline", VALUE_BYTES * VAE_PARAMETERS, "B"))
    figures += [
        Figure("decoder, live", VALUE_BYTES * parameters(stream.decoder), "B"),
        Figure("sound encoder", VALUE_BYTES * parameters(stream.sound_encoder), "B"),
    ]
    if mode == "offload":
        figures.append(Figure("in the host's memory, for each GPU", stream.fetched, "B"))
    return figures


def table(title: str, sections: Sections) -> str:
    width = max(len(figure.name) for figures in sections.values() for figure in figures)
    lines = [title, "Computed from the model's sizes and the figures assumed below. Nothing here is measured."]
    for name, figures in sections.items():
        lines += ["", name]
        lines += [f"  {figure.name:<{width}}  {shown(figure.value, figure.unit):>16}" for figure in figures]
    return "\n".join(lines)


def as_json(title: str, sections: Sections) -> str:
    figures = {
        name: {figure.name: {"value": figure.value, "unit": figure.unit} for figure in figures}
        for name, figures in sections.items()
    }
    return json.dumps({"plan": title, "measured": False, "sections": figures}, indent=2)


# --- the command -------------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="server.py plan",
        description="Says what a model needs and how fast it can be on given GPUs: memory of each, operations, bytes that "
        "GPUs exchange, frame rate. For a clip made offline as the released program makes it, and for a live causal "
        "stream. Everything is computed from the model's sizes; nothing is measured, and no weights or GPU are needed.",
        epilog="Activations are added up as the network's own code makes and frees them. Not counted: what kernels take "
        "for themselves, what the allocator loses, the GPU's own context (about a gigabyte), and in work all that is not a "
        "matrix product or a convolution. Times assume that all of it runs at --tflops, fp8 no faster than bf16, "
        "and that GPUs wait while they exchange. Sizes are decimal: 1 GB is 10^9 bytes.",
    )
    made.add_argument("--preset", choices=SUBJECTS, default=HUNYUAN_AVATAR.name, help="which model (%(default)s)")
    made.add_argument("--image-size", metavar="SIZE", help="a short side, for the largest picture that it allows (704 "
                      "is 704x1216), or width x height, 704x704 say (default: 704, or the preset's only size)")  # fmt: skip
    made.add_argument("--gpus", type=int, default=1, help="GPUs that make one picture together; their number must divide "
                      "the model's heads (%(default)s)")  # fmt: skip
    made.add_argument("--mode", choices=MODES, default="bf16",
                      help="; ".join(f"{mode}: {what}" for mode, what in MODES.items()) + " (%(default)s)")  # fmt: skip
    made.add_argument("--frames", type=_positive_int, default=129, help="length of the offline clip (%(default)s)")
    made.add_argument("--steps", type=_positive_int, help="denoising steps of a live chunk (default: the preset's)")
    made.add_argument("--tflops", type=_positive, default=H100_TFLOPS, help="10^12 operations a second that a GPU keeps up "
                      "(%(default)g: an H100 in long training runs)")  # fmt: skip
    made.add_argument("--link-gbps", type=_positive, default=NVLINK_GBPS, help="gigabytes (not bits) a second from a GPU "
                      "to the others (%(default)g: NVLink 4 under NCCL)")  # fmt: skip
    made.add_argument("--host-gbps", type=_positive, default=PCIE_GBPS, help="gigabytes a second from the host to each "
                      "GPU, for --mode offload (%(default)g: PCIe 5.0 x16)")  # fmt: skip
    made.add_argument("--gpu-gb", type=_positive, default=H100_GB, help="gigabytes of memory of a GPU (%(default)g)")
    made.add_argument("--json", action="store_true", help="print JSON with unrounded figures instead of a table")
    return made


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be more than zero, got {text}")
    return value


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


_positive.__name__, _positive_int.__name__ = "number", "whole number"  # in argparse's messages


def main(arguments: list[str]) -> int:
    """Prints a plan. Exits with a message on nonsense, as argparse does."""
    command = parser()
    asked = command.parse_args(arguments)
    subject = SUBJECTS[asked.preset]
    try:
        width, height = picture_size(subject, asked.image_size)
        check_gpus(subject.dit, asked.gpus)
    except ValueError as error:
        command.error(str(error))
    machine = Machine(asked.gpus, asked.mode, asked.tflops, asked.link_gbps, asked.host_gbps, asked.gpu_gb)
    stream = Stream(subject, width, height, machine, asked.steps or subject.live.steps)
    clip = Clip(subject, width, height, machine, asked.frames) if subject.offline else None
    title = f"{subject.name} at {width}x{height}, {machine.mode}, {machine.gpus} GPU{'s' if machine.gpus > 1 else ''}"
    print((as_json if asked.json else table)(title, sections_of(clip, stream)))
    return 0
