"""Inputs of one forward pass, random, for a transformer of any size."""

import torch
from torch import Tensor

from model.dit import Conditions, DiTConfig


def tiny_scene(config: DiTConfig, frames: int = 3, rows: int = 4, columns: int = 6) -> tuple[Tensor, Conditions]:
    """Latents b c t h w and what steers them, of one clip."""
    random = torch.Generator().manual_seed(2)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    heard = config.frames_per_latent * frames - (config.frames_per_latent - 1) * config.leading_frame
    return noise(1, config.in_channels, frames, rows, columns), Conditions(
        timestep=torch.tensor([700.0]),
        motion_exp=torch.full((1, 4), 30.0),
        motion_pose=torch.full((1, 4), 25.0),
        fps=torch.tensor([25.0]),
        text_states=noise(1, 5, config.text_states_dim),
        text_mask=torch.ones(1, 5, dtype=torch.int64),
        text_states_2=noise(1, config.text_states_dim_2),
        ref_latents=noise(1, config.in_channels, 1, rows, columns).expand(-1, -1, frames, -1, -1),
        audio_prompts=noise(1, heard, config.audio_window, config.audio_blocks, config.audio_channels),
        face_mask=torch.ones(1, 1, 1, rows, columns),
    )
