"""A full-size preset at the smallest sizes, with random weights: the same code from a folder of characters to pictures."""

from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

from model.audio import AudioConfig
from model.character import save_character
from model.dit import DiT, DiTConfig
from model.full_size import Choices, assemble
from model.live import Live
from model.offline import Prompt
from model.offline_audio import RecordingEncoder
from model.parallel import ALONE, Group
from model.prepared import Conditions, mark, save_conditions
from model.presets import HUNYUAN_AVATAR, Preset, Window
from model.tiny_vae import TinyVAE, TinyVAEConfig
from model.vae import VAE
from tests.tiny_checkpoint import CHANNELS, TINY_DIT, TINY_VAE, TINY_WHISPER, randomised

STILL_LATENTS, TEXT, SIDE = 9, 7, 32

TINY_DECODER = TinyVAEConfig(
    latent_channels=CHANNELS, encoder_width=8, encoder_blocks=1, decoder_widths=(8, 8, 8, 8), decoder_blocks=(1, 1, 1),
)  # fmt: skip
WINDOWED = Preset(
    name="tiny-windowed", width=SIDE, height=SIDE, fps=25, vae=TINY_DECODER,
    audio=AudioConfig(window_samples=16_000, lookahead_samples=1_920, chunk_samples=2 * 2_560, prompt_lead=4),
    dit=DiTConfig(), steps=2, max_batch=1, window=Window(latents=5, new=2), prepared_as=HUNYUAN_AVATAR.name,
)  # fmt: skip
CAUSAL = replace(
    WINDOWED, name="tiny-causal", audio=replace(WINDOWED.audio, chunk_samples=2_560), window=None,
    dit=DiTConfig(leading_frame=False, causal_window=2),
)  # fmt: skip


class TinyCheckpoint:
    """What a folder of released weights gives, in float32."""

    def transformer(self, device, mode: str = "bf16", group: Group = ALONE) -> DiT:
        return randomised(DiT(TINY_DIT, group)).to(device)

    def vae(self, device, dtype) -> VAE:
        return randomised(VAE(replace(TINY_VAE, attention_past=2))).to(device, dtype)

    def hearing(self, device) -> RecordingEncoder:
        made = RecordingEncoder(TINY_WHISPER)
        randomised(made.encoder, 0.3)
        return made.eval().to(device)


def save_tiny_decoder(folder: Path) -> None:
    vae = randomised(TinyVAE(TINY_DECODER), 0.25)
    vae.decoder[-1].weight.data *= 0.02  # mid-grey pictures: neither black nor white hides a difference
    vae.decoder[-1].bias.data.fill_(0.5)
    save_file(vae.state_dict(), folder / "taehv.safetensors")


def save_person(folder: Path, faces: dict | None = None, text: int = 5, side: int = SIDE) -> Path:
    """A character as server.py prepare writes it; of its `TEXT` text tokens the first `text` take part."""
    random = torch.Generator().manual_seed(len(folder.name))
    reference = torch.randn(CHANNELS, 1, side // 8, side // 8, generator=random).repeat(1, STILL_LATENTS, 1, 1)
    valid = (torch.arange(TEXT) < text).int()[None]

    def words() -> Prompt:
        states = torch.randn(1, TEXT, TINY_DIT.text_states_dim, generator=random)
        return Prompt(states, valid.clone(), torch.randn(1, TINY_DIT.text_states_dim_2, generator=random))

    save_character(folder, folder.name.title(), faces or {"Me": (0.3, 0.2, 0.7, 0.6)}, reference[:, 0])
    save_conditions(folder, Conditions(reference, words(), words()))
    mark(folder, HUNYUAN_AVATAR.name)
    Image.new("RGB", (side, side)).save(folder / "picture.png")
    return folder


def tiny_live(preset: Preset, folder: Path, decoder: str = "taehv", **choices) -> Live:
    """With weights and two people, "me" and "duo" with two faces, in the folder."""
    if not (folder / "taehv.safetensors").exists():
        save_tiny_decoder(folder)
        save_person(folder / "me")
        save_person(folder / "duo", {"Left": (0.1, 0.2, 0.4, 0.8), "Right": (0.6, 0.2, 0.9, 0.8)}, text=6)
    chosen = Choices(folder, image_size=f"{SIDE}", decoder=decoder, **choices)
    made = assemble(preset, TinyCheckpoint(), chosen, torch.device("cpu"))
    for name in ("me", "duo"):
        made.learn(folder / name)
    return made
