"""The released weights in their published folder, and each part of the system made of them.

    hunyuan-video-t2v-720p/transformers/mp_rank_00_model_states.pt           {"module": tensors by name}
    hunyuan-video-t2v-720p/transformers/mp_rank_00_model_states_fp8.pt       the same, fit for fp8
    hunyuan-video-t2v-720p/transformers/mp_rank_00_model_states_fp8_map.pt   {"module": scale by layer}
    hunyuan-video-t2v-720p/vae/config.json, pytorch_model.pt
    whisper-tiny/  llava_llama_image/  text_encoder_2/                       as transformers saves models

or, where model/convert.py has been, safetensors in their place. Names and shapes must be exactly those of our modules,
whose sizes are read off the tensors. Pickles are opened for tensors only and mapped, not read; nothing is downloaded.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers.models.whisper.configuration_whisper import WhisperConfig

from model.dit import DiT, DiTConfig
from model.fp8 import fill_float8
from model.offline_audio import PROMPT_POSITIONS, RecordingEncoder
from model.offload import offload
from model.parallel import ALONE, Group
from model.vae import VAE, VAEConfig
from model.weights import fill

if TYPE_CHECKING:
    from model.prompting import PromptEncoder

TRANSFORMERS, AUTOENCODER = Path("hunyuan-video-t2v-720p/transformers"), Path("hunyuan-video-t2v-720p/vae")
STATES = "mp_rank_00_model_states"
WHISPER, LLAVA, CLIP = Path("whisper-tiny"), Path("llava_llama_image"), Path("text_encoder_2")
INDEX, CONFIG = "model.safetensors.index.json", "config.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")  # in any of these a tokenizer keeps its words
MODES = ("bf16", "fp8", "offload")


def find(folder: Path, fp8: bool = False) -> "Checkpoint":
    """The checkpoint in a folder, nothing of it loaded yet.

    Raises ValueError, once, with everything that is missing and where it is expected. The text encoders, which only new
    prompts and characters need, may be missing."""
    found = Checkpoint(Path(folder), fp8)
    needed = [found.transformer_file, *([found.scale_file] if fp8 and not found.converted else [])]
    needed += [found.folder / AUTOENCODER / CONFIG, found.vae_file, *found.model_files(WHISPER)]
    if missing := _absent(needed):
        missing += found.missing_text_encoders()
        raise ValueError(f"{folder} is not a whole checkpoint; there should be, and is not:{_listed(missing)}")
    return found


@dataclass(frozen=True)
class Checkpoint:
    """Each method loads its part anew, onto the device. They raise ValueError for a file that is damaged or another's."""

    folder: Path
    fp8: bool

    # --- the parts

    def transformer(self, device: torch.device, mode: str = "bf16", group: Group = ALONE) -> DiT:
        """In bfloat16. `fp8` needs a checkpoint found with fp8; `offload` keeps the blocks in the host's memory."""
        if mode not in MODES:
            raise ValueError(f"the mode is one of {', '.join(MODES)}, not {mode!r}")
        if (mode == "fp8") != self.fp8:
            raise ValueError(f"the checkpoint was opened {'for fp8' if self.fp8 else 'without fp8'}, the mode is {mode}")
        tensors, scales = self.transformer_tensors()
        with torch.device("meta"):
            dit = DiT(self.transformer_config(tensors), group).to(torch.bfloat16)
        home = torch.device("cpu") if mode == "offload" else device
        if self.fp8:
            fill_float8(dit, tensors, scales, home, self.transformer_file)
        else:
            fill(dit, tensors, home, torch.bfloat16, self.transformer_file)
        if mode == "offload":
            offload(dit, device)
        return dit.eval()

    def vae(self, device: torch.device, dtype: torch.dtype) -> VAE:
        with torch.device("meta"):
            vae = VAE(VAEConfig.published(read_json(self.folder / AUTOENCODER / CONFIG)))
        tensors = _held(self.vae_file, "state_dict", or_bare=True)
        tensors = {name.removeprefix("vae."): tensor for name, tensor in tensors.items()}
        return fill(vae, tensors, device, dtype, self.vae_file).eval()

    def hearing(self, device: torch.device) -> RecordingEncoder:
        """Whisper's encoder in float32, as the released program runs it."""
        config_file, weights_file = self.model_files(WHISPER)
        made = RecordingEncoder(WhisperConfig(**read_json(config_file)))
        tensors = read_tensors(weights_file)
        prefix = "model.encoder." if any(name.startswith("model.") for name in tensors) else "encoder."
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        fill(made.encoder, tensors, device, torch.float32, weights_file)
        return made.to(device).eval()

    def prompt_encoder(self, device: torch.device) -> "PromptEncoder":
        if missing := self.missing_text_encoders():
            raise ValueError(f"prompts need their text encoders; there should be, and is not:{_listed(missing)}")
        from model.prompting import PromptEncoder

        return PromptEncoder.load(self.folder / LLAVA, self.folder / CLIP, device)

    # --- where they are

    @property
    def converted(self) -> bool:
        return (self.converted_folder / INDEX).is_file()

    @property
    def converted_folder(self) -> Path:
        return self.folder / TRANSFORMERS / ("fp8" if self.fp8 else "bf16")

    @property
    def transformer_file(self) -> Path:
        if self.converted:
            return self.converted_folder / INDEX
        return self.folder / TRANSFORMERS / f"{STATES}{'_fp8' if self.fp8 else ''}.pt"

    @property
    def scale_file(self) -> Path:
        return self.folder / TRANSFORMERS / f"{STATES}_fp8_map.pt"

    @property
    def vae_file(self) -> Path:
        converted = self.folder / AUTOENCODER / "model.safetensors"
        return converted if converted.is_file() else self.folder / AUTOENCODER / "pytorch_model.pt"

    def model_files(self, part: Path) -> tuple[Path, Path]:
        """Config and weights of one of the models that transformers saved."""
        folder = self.folder / part
        names = ("model.safetensors", INDEX, "pytorch_model.bin")
        there = [folder / name for name in names if (folder / name).is_file()]
        return folder / CONFIG, there[0] if there else folder / names[0]

    def missing_text_encoders(self) -> list[Path]:
        needed = []
        for part in (LLAVA, CLIP):
            words = [self.folder / part / name for name in TOKENIZERS]
            needed += [*self.model_files(part), next((path for path in words if path.is_file()), words[0])]
        return _absent(needed)

    # --- the transformer's tensors and sizes

    def transformer_tensors(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Tensors by name, mapped from the file; and the scale of each fp8 layer, by the layer's name."""
        if self.converted:
            tensors = read_tensors(self.transformer_file)
            layers = [name.removesuffix(".weight") for name, t in tensors.items() if t.dtype == torch.float8_e4m3fn]
            return tensors, {layer: tensors.pop(f"{layer}.scale") for layer in layers}
        return _held(self.transformer_file, "module"), _held(self.scale_file, "module") if self.fp8 else {}

    def transformer_config(self, tensors: Mapping[str, Tensor]) -> DiTConfig:
        """Sizes as the tensors have them, and as Whisper's config has those of its states.

        How a head is divided between time, rows and columns no tensor tells: an eighth is time's, unless there is a
        config.json beside the weights, with names as in DiTConfig."""
        whisper = WhisperConfig(**read_json(self.folder / WHISPER / CONFIG))
        try:
            return DiTConfig(**sizes(tensors, whisper) | self._stated_sizes())
        except (KeyError, TypeError, ZeroDivisionError, ValueError) as problem:
            raise ValueError(f"{self.transformer_file} is not HunyuanVideo-Avatar's transformer: {problem!r}") from problem

    def _stated_sizes(self) -> dict:
        path = self.transformer_file.with_name(CONFIG)
        if not path.is_file():
            return {}
        known = {field.name for field in fields(DiTConfig)}
        return {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in read_json(path).items()
            if name in known
        }


def sizes(tensors: Mapping[str, Tensor], whisper: WhisperConfig) -> dict:
    """The fields of DiTConfig that the tensors' shapes and the config of Whisper tell. Raises KeyError, ValueError."""

    def shape(name: str) -> torch.Size:
        return tensors[name].shape

    def count(prefix: str) -> int:
        return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})

    width, in_channels, *patch = shape("img_in.proj.weight")
    (head,) = shape("double_blocks.0.img_attn_q_norm.weight")
    states, channels = whisper.encoder_layers + 1, whisper.d_model
    time = head // 8
    found = {
        "hidden_size": width,
        "num_heads": width // head,
        "rope_dim_list": (time, (head - time) // 2, (head - time) // 2),
        "patch_size": tuple(patch),
        "in_channels": in_channels,
        "out_channels": shape("final_layer.linear.weight")[0] // (patch[1] * patch[2]),
        "mlp_width_ratio": shape("double_blocks.0.img_mlp.fc1.weight")[0] / width,
        "depth_double_blocks": count("double_blocks."),
        "depth_single_blocks": count("single_blocks."),
        "refiner_depth": count("txt_in.individual_token_refiner.blocks."),
        "text_states_dim": shape("txt_in.input_embedder.weight")[1],
        "text_states_dim_2": shape("vector_in.in_layer.weight")[1],
        "audio_window": PROMPT_POSITIONS,
        "audio_blocks": states,
        "audio_channels": channels,
        "audio_intermediate_dim": shape("audio_proj.proj1.weight")[0],
        "audio_context_tokens": shape("audio_proj.proj3.weight")[0] // width,
        "audio_adapter_dim_head": shape("audio_adapter_blocks.0.to_q.weight")[0],
    }
    heard = shape("audio_proj.proj1.weight")[1]
    if heard != PROMPT_POSITIONS * states * channels:
        raise ValueError(f"it hears {heard} numbers a frame; this Whisper says {PROMPT_POSITIONS} x {states} x {channels}")
    if "emotion_proj.proj.weight" in tensors:
        found["emotion_width"] = shape("emotion_adapter_blocks.0.to_q.weight")[0]
    return found


# --- files ---------------------------------------------------------------------------------------------------------------


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Everything in a safetensors file, in the shards of an index, or in a pickle; mapped, so it costs no memory yet, but
    for pickles of before torch 1.6, which cannot be.

    Raises ValueError for what is none of them, is cut off, or holds more than plain data."""
    try:
        if path.name == INDEX:
            return {name: tensor for shard in _shards(path) for name, tensor in read_tensors(shard).items()}
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (OSError, RuntimeError, EOFError, KeyError, UnpicklingError, SafetensorError) as problem:
        first = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise ValueError(f"{path} cannot be read, it may be cut off or no file of weights: {first}") from problem
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}, not weights by their names")
    return found


def read_json(path: Path) -> dict:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as problem:
        raise ValueError(f"{path} cannot be read: {problem}") from problem
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}, not values by their names")
    return found


def _held(path: Path, key: str, or_bare: bool = False) -> dict[str, Tensor]:
    """What a file has under a key, or by itself; plain numbers, as scales may be, become tensors."""
    found = read_tensors(path)
    held = found if or_bare and key not in found else found.get(key)
    if not isinstance(held, dict):
        raise ValueError(f"{path} has no {key!r} with the weights in it; its names begin {', '.join(map(str, found))[:99]}")
    try:
        return {name: torch.as_tensor(value) for name, value in held.items()}
    except (TypeError, ValueError, RuntimeError) as problem:
        raise ValueError(f"{path} holds something that is no tensor: {problem}") from problem


def _absent(paths: list[Path]) -> list[Path]:
    """Those that are missing, and the missing shards of those that are an index."""
    shards = [shard for path in paths if path.name == INDEX and path.is_file() for shard in _shards(path)]
    return [path for path in [*paths, *shards] if not path.is_file()]


def _shards(index: Path) -> list[Path]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict):
        raise ValueError(f"{index} has no 'weight_map': it says of no weight where it is")
    return [index.with_name(shard) for shard in sorted(set(places.values()))]


def _listed(paths: list[Path]) -> str:
    return "".join(f"\n  {path}" for path in paths)
