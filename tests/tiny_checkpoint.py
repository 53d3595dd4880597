"""A whole checkpoint in the published layout, at the smallest sizes, with random weights."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers.models.whisper.configuration_whisper import WhisperConfig

from model.checkpoint import AUTOENCODER, CONFIG, STATES, TRANSFORMERS, WHISPER
from model.dit import DiT, DiTConfig
from model.offline_audio import RecordingEncoder
from model.vae import VAE, VAEConfig

CHANNELS = 4
# A head of 16 has an eighth for time and cannot halve the rest evenly, so a config.json says how it is divided.
TINY_DIT = DiTConfig(
    hidden_size=32, num_heads=2, rope_dim_list=(4, 6, 6), in_channels=CHANNELS, out_channels=CHANNELS,
    depth_double_blocks=2, depth_single_blocks=2, refiner_depth=1, text_states_dim=16, text_states_dim_2=8,
    audio_blocks=3, audio_channels=8, audio_intermediate_dim=8, audio_adapter_dim_head=8,
)  # fmt: skip
TINY_VAE = VAEConfig(latent_channels=CHANNELS, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4)
TINY_WHISPER = WhisperConfig(
    d_model=8, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=8, max_source_positions=60
)


def randomised(module: torch.nn.Module, std: float = 0.2) -> torch.nn.Module:
    random = torch.Generator().manual_seed(1)
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=std, generator=random)
    return module.eval()


def write_tiny_checkpoint(folder: Path) -> Path:
    """Everything but the text encoders and the fp8 transformer."""
    transformers, autoencoder, whisper = (folder / part for part in (TRANSFORMERS, AUTOENCODER, WHISPER))
    for part in (transformers, autoencoder, whisper):
        part.mkdir(parents=True)
    states = randomised(DiT(TINY_DIT)).to(torch.bfloat16).state_dict()
    torch.save({"module": states}, transformers / f"{STATES}.pt")
    (transformers / CONFIG).write_text(json.dumps({"rope_dim_list": TINY_DIT.rope_dim_list}))
    weights = {f"vae.{name}": tensor.half() for name, tensor in randomised(VAE(TINY_VAE)).state_dict().items()}
    torch.save({"state_dict": weights}, autoencoder / "pytorch_model.pt")
    (autoencoder / CONFIG).write_text(json.dumps({"_class_name": "AutoencoderKLCausal3D", **asdict(TINY_VAE)}))
    hearing = randomised(RecordingEncoder(TINY_WHISPER).encoder, 0.3).state_dict()
    beside = {"model.decoder.layer_norm.weight": torch.ones(8)}  # a whole Whisper has a decoder, too
    save_file({f"model.encoder.{name}": tensor for name, tensor in hearing.items()} | beside, whisper / "model.safetensors")
    (whisper / CONFIG).write_text(json.dumps(TINY_WHISPER.to_dict(), default=str))
    return folder


def write_tiny_fp8(folder: Path) -> None:
    """The released fp8 pair: values that fp8 holds, kept in two bytes, and a scale for each layer of the blocks."""
    states = torch.load(folder / TRANSFORMERS / f"{STATES}.pt", weights_only=True)["module"]
    model = DiT(TINY_DIT)
    scales = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and ("double_blocks" in name or "single_blocks" in name):
            weight = states[f"{name}.weight"].float()
            scales[name] = weight.abs().max() / 448
            states[f"{name}.weight"] = (weight / scales[name]).to(torch.float8_e4m3fn).to(torch.bfloat16)
    torch.save({"module": states}, folder / TRANSFORMERS / f"{STATES}_fp8.pt")
    torch.save({"module": scales}, folder / TRANSFORMERS / f"{STATES}_fp8_map.pt")
