"""What can be served, by name: compositions of configs. Nothing is loaded before it is asked for."""

from dataclasses import dataclass

from model.audio import AudioConfig
from model.dit import DiTConfig
from model.tiny_vae import TinyVAEConfig


@dataclass(frozen=True)
class Preset:
    """One size of the system, from pictures to chunks."""

    name: str
    width: int
    height: int
    fps: int
    vae: TinyVAEConfig
    audio: AudioConfig
    dit: DiTConfig
    steps: int  # denoising steps of a chunk when there is time
    max_batch: int

    def __post_init__(self) -> None:
        if self.audio.frames_per_chunk != self.dit.frames_per_latent:
            raise ValueError(
                f"a chunk of {self.audio.frames_per_chunk} frames must be one latent of {self.dit.frames_per_latent}"
            )

    @property
    def latent_size(self) -> tuple[int, int]:
        return self.height // self.vae.spatial_factor, self.width // self.vae.spatial_factor


EMBEDDED = Preset(
    name="embedded",
    width=256,
    height=256,
    fps=25,
    vae=TinyVAEConfig(
        patch_size=4,
        latent_channels=32,
        encoder_width=64,
        encoder_blocks=2,
        encoder_time_downscale=(True, False),
        decoder_widths=(128, 64, 32, 32),
        decoder_blocks=(2, 2, 1),
        decoder_time_upscale=(False, True, False),
        decoder_space_upscale=(True, True, False),
        frames_to_trim=0,
    ),
    audio=AudioConfig(),
    dit=DiTConfig(
        hidden_size=256,
        num_heads=4,
        rope_dim_list=(16, 24, 24),
        in_channels=32,
        out_channels=32,
        depth_double_blocks=4,
        depth_single_blocks=2,
        refiner_depth=1,
        text_states_dim=16,
        text_states_dim_2=16,
        audio_channels=192,
        audio_intermediate_dim=128,
        audio_adapter_dim_head=256,
        frames_per_latent=2,
        leading_frame=False,
        causal_window=4,
    ),
    steps=1,  # a second one costs a third more and the scores stay where they are
    max_batch=4,
)

PRESETS = {preset.name: preset for preset in (EMBEDDED,)}

