"""What using a model takes on a given machine: what can be planned for, on what, and where weights go.

Computed from the configs that the model is built from; nothing is measured, and no weights are needed. The two uses are
model/planning/budget_clip.py's and model/planning/budget_stream.py's.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from model.audio import AudioEncoder
from model.dit import DiT, DiTConfig
from model.offline import SamplingConfig
from model.offline_audio import RecordingEncoder
from model.planning.footprint import parameters, weightless
from model.presets import EMBEDDED, LARGER
from model.tiny_vae import TinyVAEConfig

MODES = {
    "bf16": "16-bit weights",
    "fp8": "the matrices of the blocks in 8 bits",
    "offload": "blocks in the host's memory, fetched one ahead",
}
VALUE_BYTES = 2  # bfloat16, in the VAE float16

# What an H100 keeps up for weeks: Llama 3 was trained at 380 to 430 TFLOP/s on each of them in bfloat16, of a peak of 989
# ("The Llama 3 Herd of Models", arXiv 2407.21783).
H100_TFLOPS = 400.0
# Of 450 GB/s each way NVLink 4 leaves NCCL about 370 (its maintainers, NVIDIA/nccl-tests issue 212).
NVLINK_GBPS = 370.0
# PCIe 5.0 x16 carries 64 GB/s each way; the same fifth taken off.
PCIE_GBPS = 51.0
H100_GB = 80.0

LLAVA_PARAMETERS = 8_355_300_000  # Llama 8,030.8 M with 128,320 words, vision tower 303.5 M, projector 21.0 M
CLIP_TEXT_PARAMETERS = 123_060_480  # ViT-L/14
VAE_PARAMETERS = 246_500_000  # the released classes built without weights: encoder 100.3 M, decoder 146.1 M


@dataclass(frozen=True)
class Live:
    """A causal stream; past and chunk in latent frames."""

    past: int
    chunk: int
    steps: int


@dataclass(frozen=True)
class Subject:
    """What can be planned for."""

    name: str
    dit: DiTConfig
    fps: int
    text_tokens: int
    stream_decoder: TinyVAEConfig
    sound_encoder: Callable[[], nn.Module]
    live: Live
    offline: SamplingConfig | None = None
    only_size: tuple[int, int] | None = None  # width, height
    enlargement: float = 1.0  # of what is painted, to the size of the picture


HUNYUAN_AVATAR = Subject(
    name="hunyuan-avatar",
    dit=DiTConfig(),
    fps=25,
    text_tokens=831,  # 255 places for the prompt, 576 for the picture
    stream_decoder=TinyVAEConfig(),
    sound_encoder=lambda: RecordingEncoder().encoder,
    live=Live(past=6, chunk=3, steps=4),
    offline=SamplingConfig(),
)
EMBEDDED_AVATARS = tuple(
    Subject(
        name=preset.name,
        dit=preset.dit,
        fps=preset.fps,
        text_tokens=1,
        stream_decoder=preset.vae,
        sound_encoder=lambda: AudioEncoder(EMBEDDED.audio).encoder,
        live=Live(past=preset.dit.causal_window, chunk=1, steps=preset.steps),
        only_size=(preset.width, preset.height),
        enlargement=preset.enlargement,
    )
    for preset in (EMBEDDED, *LARGER)
)
SUBJECTS = {subject.name: subject for subject in (HUNYUAN_AVATAR, *EMBEDDED_AVATARS)}


@dataclass(frozen=True)
class Machine:
    gpus: int = 1
    mode: str = "bf16"
    tflops: float = H100_TFLOPS
    link_gbps: float = NVLINK_GBPS
    host_gbps: float = PCIE_GBPS
    gpu_gb: float = H100_GB

    def seconds(self, operations: float = 0, sent_bytes: float = 0, fetched_bytes: float = 0) -> float:
        """Ranks wait while they exchange; blocks are fetched while others compute."""
        own = operations / self.tflops / 1e12 + sent_bytes / self.link_gbps / 1e9
        return max(own, fetched_bytes / self.host_gbps / 1e9)


# --- weights -----------------------------------------------------------------------------------------------------------

BLOCKS = {"double_blocks": "double blocks", "single_blocks": "single blocks"}
SOUND = "sound into picture"
PARTS = BLOCKS | {"txt_in": "text refiner", "audio_proj": SOUND, "audio_adapter_blocks": SOUND}
OTHER = "everything else"


def weights_by_part(dit: nn.Module, value_bytes: Callable[[str, nn.Parameter], int]) -> dict[str, int]:
    sizes = dict.fromkeys([*PARTS.values(), OTHER], 0)
    for name, weight in dit.named_parameters():
        module = name.split(".")[0]
        sizes[PARTS.get(module, OTHER)] += weight.numel() * value_bytes(module, weight)
    return sizes


def bytes_by_part(dit: nn.Module, mode: str) -> dict[str, int]:
    """On a GPU. In fp8 a matrix of a block takes a byte for each value; its scale is not counted."""

    def value_bytes(module: str, weight: nn.Parameter) -> int:
        return 1 if mode == "fp8" and module in BLOCKS and weight.ndim == 2 else VALUE_BYTES

    sizes = weights_by_part(dit, value_bytes)
    if mode != "offload":
        return sizes
    largest = max(parameters(block) for name in BLOCKS for block in getattr(dit, name))
    resident = {part: size for part, size in sizes.items() if part not in BLOCKS.values()}
    return {"two blocks: one at work, one arriving": 2 * VALUE_BYTES * largest, **resident}


def fetched_bytes(dit: nn.Module, mode: str) -> int:
    """What a pass fetches from the host, where it lies pinned."""
    return VALUE_BYTES * sum(parameters(getattr(dit, name)) for name in BLOCKS) if mode == "offload" else 0


def unpacked_bytes(dit: nn.Module, mode: str) -> int:
    """In fp8 the largest matrix as 16-bit values: a GPU without fp8 products multiplies those."""
    if mode != "fp8":
        return 0
    return VALUE_BYTES * max(weight.numel() for name in BLOCKS for weight in getattr(dit, name).parameters())


# --- figures -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    name: str
    value: float | str
    unit: str = ""


Sections = dict[str, list[Figure]]

SCALES = (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))
OPERATIONS = {"operations": "FLOP", "operations/s": "FLOP/s"}


def shown(value: float | str, unit: str) -> str:
    """A figure for reading."""
    if isinstance(value, str):
        return value
    if unit in ("B", "B/s", *OPERATIONS):
        prefix, scale = next((pair for pair in SCALES if value >= pair[1]), ("", 1))
        return f"{value / scale:,.4g} {prefix}{OPERATIONS.get(unit, unit)}"
    if unit == "s" and value >= 120:
        return f"{value / 60:,.1f} min"
    number = f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"
    return f"{number} {unit}".rstrip()


# --- a use of a model on a machine -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Budget(ABC):
    """One use of a model on a machine. Memory, work and bytes are those of one GPU unless it is said otherwise."""

    subject: Subject
    width: int
    height: int
    machine: Machine

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of latents."""
        side = self.subject.stream_decoder.spatial_factor * self.subject.enlargement  # of a latent, in the picture's pixels
        return int(self.height / side), int(self.width / side)

    @property
    def frame_tokens(self) -> int:
        return math.prod(side // patch for side, patch in zip(self.grid, self.subject.dit.patch_size[1:], strict=True))

    @cached_property
    def dit(self) -> nn.Module:
        return weightless(lambda: DiT(self.subject.dit))

    @cached_property
    def sound_encoder(self) -> nn.Module:
        return weightless(self.subject.sound_encoder)

    @property
    @abstractmethod
    def sections(self) -> Sections: ...

    @abstractmethod
    def most_bytes(self, mode: str) -> int:
        """The most that is needed at a time, weights and all."""

    def resident_bytes(self, mode: str) -> int:
        return sum(bytes_by_part(self.dit, mode).values()) + VALUE_BYTES * parameters(self.sound_encoder)

    @property
    def fetched(self) -> int:
        return fetched_bytes(self.dit, self.machine.mode)

    @property
    def verdict(self) -> list[Figure]:
        most, available = self.most_bytes(self.machine.mode), self.machine.gpu_gb * 1e9
        figures = [Figure("most at a time, with all weights", most, "B")]
        if most <= available:
            return [*figures, Figure("fits", "yes")]
        others = {mode: self.most_bytes(mode) for mode in MODES}
        fitting = [f"{mode} would ({shown(size, 'B')})" for mode, size in others.items() if size <= available]
        return [*figures, Figure("fits", "no; " + (", ".join(fitting) or "nor in another mode"))]
