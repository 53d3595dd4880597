"""A live generator of the released model's size, from a folder of weights: the parts fitted together as its preset says.

The sizes are those of the weights; the preset says what is made of them: pictures, windows, steps, and what decodes.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers.models.whisper.configuration_whisper import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from model.audio import SAMPLES_PER_POSITION, AudioConfig, AudioEncoder
from model.compiled import compiled, replayed
from model.dit import DiT
from model.generator import Generator
from model.lora import merge
from model.offline_audio import RecordingEncoder
from model.offload import offload
from model.parallel import ALONE, Group
from model.presets import Preset
from model.tiny_vae import TGrow, TinyVAE, TinyVAEConfig
from model.vae import VAE
from model.windowed import Windowed

if TYPE_CHECKING:
    from model.checkpoint import Checkpoint

LIVE_METHOD = {True: "forward", False: "stream"}  # of the transformer, by whether it works in windows
TINY_DECODERS = ("taehv.safetensors", "taehv.pth")  # as its author publishes it: either will do


@dataclass(frozen=True)
class Choices:
    """What whoever starts the server may choose besides the preset; None leaves it to the preset."""

    checkpoint: Path
    lora: Path | None = None
    image_size: str | None = None  # one side of a square, or width x height
    decoder: str | None = None  # taehv or vae
    mode: str = "bf16"
    optimise: str | None = None  # compile or graphs


def sized(preset: Preset, image_size: str | None) -> Preset:
    """Raises ValueError for a size that is none, or that the networks cannot make."""
    if image_size is None:
        return preset
    sides = image_size.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise ValueError(f"an image size is one side of a square (384) or width x height (704x1216), not {image_size!r}")
    return replace(preset, width=int(sides[0]), height=int(sides[-1]))


def assemble(
    preset: Preset, checkpoint: "Checkpoint", choices: Choices, device: torch.device, group: Group = ALONE
) -> Generator | Windowed:
    """A generator without characters. Raises ValueError for weights or choices that do not fit: what is quickly seen comes
    first, the transformer last."""
    refuse_unfit(choices, device, group)
    preset = sized(preset, choices.image_size)
    vae = decoder(preset, checkpoint, choices, device)
    audio = windows_of_sound(checkpoint.hearing(device), preset.audio)
    dit = transformer(checkpoint, choices, device, group)
    # What it says of sizes is the weights'; these two are ours to say, and no weight depends on them.
    dit.config = replace(dit.config, leading_frame=preset.dit.leading_frame, causal_window=preset.dit.causal_window)
    if isinstance(vae, TinyVAE):
        vae.to(dit.before_proj.weight.dtype)
    preset = replace(preset, vae=vae.config, dit=dit.config, audio=audio.config)
    match choices.optimise:
        case "compile":
            compiled(dit, LIVE_METHOD[bool(preset.window)])
        case "graphs":
            replayed(dit, LIVE_METHOD[bool(preset.window)])
    if preset.window:
        return Windowed(preset, audio, dit, vae, {})
    return Generator(preset, audio, dit, vae, {}, dtype=None)


def refuse_unfit(choices: Choices, device: torch.device, group: Group) -> None:
    """Raises ValueError where the transformer is not one piece that does the same every time on the same memory."""
    if choices.optimise and (choices.mode == "offload" or group.size > 1):
        raise ValueError(
            f"--optimise {choices.optimise} is for weights that stay in one place: leave out --mode offload and "
            "--sequence-parallel"
        )
    if choices.optimise == "graphs" and device.type != "cuda":
        raise ValueError("--optimise graphs records what a GPU does, and there is none: leave it out, or choose compile")


def transformer(checkpoint: "Checkpoint", choices: Choices, device: torch.device, group: Group = ALONE) -> DiT:
    """With the LoRA merged, where one is chosen."""
    if choices.lora is None:
        return checkpoint.transformer(device, choices.mode, group)
    if choices.mode == "fp8":
        raise ValueError("a LoRA is merged into 16-bit weights, and those of --mode fp8 are not: choose bf16 or offload")
    dit = checkpoint.transformer(torch.device("cpu") if choices.mode == "offload" else device, "bf16", group)
    merge(dit, choices.lora)
    if choices.mode == "offload":
        offload(dit, device)
    return dit


def windows_of_sound(hearing: RecordingEncoder, config: AudioConfig) -> AudioEncoder:
    """The same Whisper over short windows: it takes the first places of the table that holds those of 30 s."""
    whisper = hearing.encoder.config
    config = replace(
        config, channels=whisper.d_model, layers=whisper.encoder_layers, heads=whisper.encoder_attention_heads,
        window_samples=min(config.window_samples, hearing.positions * SAMPLES_PER_POSITION),
    )  # fmt: skip
    audio = AudioEncoder(config)
    audio.encoder = WhisperEncoder(WhisperConfig(**whisper.to_dict() | {"max_source_positions": config.positions}))
    weights = hearing.encoder.state_dict()
    weights["embed_positions.weight"] = weights["embed_positions.weight"][: config.positions]
    audio.encoder.load_state_dict(weights)
    like = hearing.encoder.conv1.weight
    audio.encoder.to(like.dtype)
    return audio.to(like.device)


def decoder(preset: Preset, checkpoint: "Checkpoint", choices: Choices, device: torch.device) -> TinyVAE | VAE:
    tiny = isinstance(preset.vae, TinyVAEConfig)
    match choices.decoder or ("taehv" if tiny else "vae"):
        case "vae":
            return checkpoint.vae(device, torch.float16 if device.type == "cuda" else torch.float32)
        case "taehv":
            vae = TinyVAE(preset.vae if tiny else TinyVAEConfig())
            fill(vae, choices.checkpoint)
            return vae.to(device)
        case other:
            raise ValueError(f"a decoder is taehv or vae, not {other!r}")


def fill(vae: TinyVAE, folder: Path) -> None:
    """Raises ValueError where the tiny decoder's file is missing from the folder, or is another network's."""
    files = [folder / name for name in TINY_DECODERS if (folder / name).is_file()]
    if not files:
        raise ValueError(
            f"there is no {' or '.join(TINY_DECODERS)} in {folder}: put it there, or decode with the full VAE "
            f"(--decoder vae)"
        )
    path = files[0]
    try:
        found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        # Where time grows by less than in the published network, the last of its frames are those that are meant.
        own = vae.state_dict()
        grown = {name for name, layer in vae.named_modules() if isinstance(layer, TGrow)}
        cut = {f"{name}.conv.weight": len(own[f"{name}.conv.weight"]) for name in grown}
        vae.load_state_dict({name: part[-cut[name] :] if name in cut else part for name, part in found.items()})
    except (OSError, ValueError, AttributeError, RuntimeError, UnpicklingError, SafetensorError) as problem:
        raise ValueError(f"{path} cannot be used: {problem}") from problem
