"""A whole generator at the smallest sizes, with random weights: the same code as the embedded preset in milliseconds."""

import torch

from model.audio import AudioConfig, AudioEncoder
from model.character import Character
from model.dit import DiT, DiTConfig
from model.generator import Generator
from model.presets import Preset
from model.tiny_vae import TinyVAE, TinyVAEConfig

TINY = Preset(
    name="tiny", width=32, height=32, fps=25,
    vae=TinyVAEConfig(
        patch_size=2, latent_channels=4, encoder_width=8, encoder_blocks=1, encoder_time_downscale=(True, False),
        decoder_widths=(8, 8, 8), decoder_blocks=(1, 1), decoder_time_upscale=(False, True),
        decoder_space_upscale=(True, True), frames_to_trim=0,
    ),
    audio=AudioConfig(channels=8, layers=2, heads=2, window_samples=6_400),
    dit=DiTConfig(
        hidden_size=24, num_heads=2, rope_dim_list=(4, 4, 4), in_channels=4, out_channels=4, depth_double_blocks=2,
        depth_single_blocks=1, refiner_depth=1, text_states_dim=4, text_states_dim_2=4, audio_blocks=3, audio_channels=8,
        audio_intermediate_dim=8, audio_adapter_dim_head=8, emotion_width=8, frames_per_latent=2, leading_frame=False,
        causal_window=2,
    ),
    steps=2, max_batch=4,
)  # fmt: skip


def tiny_generator() -> Generator:
    torch.manual_seed(3)
    audio, dit, vae = AudioEncoder(TINY.audio), DiT(TINY.dit), TinyVAE(TINY.vae)
    for part in (audio.encoder, dit, vae):
        for weight in part.parameters():
            torch.nn.init.normal_(weight, std=0.25)
    vae.decoder[-1].weight.data *= 0.02  # mid-grey pictures: neither black nor white hides a difference
    vae.decoder[-1].bias.data.fill_(0.5)
    people = {"ada": {"Ada": (0.2, 0.2, 0.8, 0.8)}, "bo": {"Bo": (0.2, 0.2, 0.8, 0.8)}}
    people["duo"] = {"Left": (0.0, 0.0, 0.5, 1.0), "Right": (0.5, 0.0, 1.0, 1.0)}
    characters = {
        name: Character(name, name.title(), "", tuple(faces), tuple(faces.values()), torch.randn(4, 4, 4))
        for name, faces in people.items()
    }
    emotions = {name: torch.randn(4, 4, 4) for name in ("happy", "sad")}
    rows, columns = TINY.latent_size
    assert (rows, columns) == (4, 4)
    return Generator(TINY, audio, dit, vae, characters, emotions=emotions)
