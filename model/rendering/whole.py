"""Pictures of a recording from the released model, as its own program makes them: whole clips, on one or more ranks.

The order of things: portrait and prompt, sound, a clip denoised in windows, the clip decoded in tiles. The first rank
reads; all of them denoise and decode. Writes no films.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from model.character import load_character
from model.dit import Conditions, DiT, StepCache
from model.faces import find_faces
from model.masks import Box, latent_masks, pixel_masks
from model.motion import RELEASED_EXP, RELEASED_POSE
from model.offline import Clip, Prompt, SamplingConfig, clip_noise, plan, sample, windows
from model.offline_audio import Hearing, RecordingEncoder, frame_count, padded
from model.parallel import ALONE, Group
from model.picture import fitted, pixels
from model.planning.budget import HUNYUAN_AVATAR
from model.prepared import load_conditions
from model.rendering.memory import Attempt
from model.rendering.problems import CannotGoOn
from model.rendering.ranks import told
from model.rendering.recording import MODEL_RATE, Recording
from model.rendering.rows import Row
from model.rendering.sitters import portrait
from model.rendering.unfinished import Unfinished
from model.vae import VAE

if TYPE_CHECKING:
    from model.checkpoint import Checkpoint
    from model.prompting import PromptEncoder

Moved = TypeVar("Moved")


@dataclass(frozen=True)
class ClipSettings:
    checkpoint: str
    character: Path | None  # a prepared folder, for all rows
    image_size: int  # of the short side
    seed: int
    most_frames: int | None
    hearing: Hearing
    sampling: SamplingConfig


@dataclass(frozen=True)
class Sitter:
    """Who speaks: the picture at its fitted size, where its faces are, and what text encoders made of it and the prompt."""

    picture: Image.Image
    faces: tuple[Box, ...]
    prompt: Prompt
    negative: Prompt
    reference: Tensor | None = None  # the picture's latents over a window, c t h w, where they are known already


@dataclass(frozen=True)
class Task:
    """What the first rank tells the others: a clip, its latents before the step `begin`, and how many frames it has."""

    clip: Clip
    latents: Tensor
    begin: int
    frames: int


class WholeFilms:
    """The first rank makes films; the others `follow` until it says `dismiss`."""

    def __init__(
        self, checkpoint: "Checkpoint", settings: ClipSettings, device: torch.device, mode: str, group: Group = ALONE
    ) -> None:
        self.checkpoint, self.settings = checkpoint, settings
        self.device, self.mode, self.group = device, mode, group
        self.sitters: dict[str, Sitter] = {}

    def prepare(self, row: Row, recording: Recording) -> Sequence[str]:
        """Raises ValueError for a row that cannot be made."""
        frames, remarks = self.frames(recording, row.fps), []
        if not self.settings.most_frames and frames / row.fps < recording.seconds - 1:
            remarks.append(
                f"of {recording.seconds:.1f} s only the first {frames / row.fps:.1f} s are heard, as by the released "
                "program; --hearing throughout hears all"
            )
        self.sitters[row.name] = self.character or self._sitter(row)
        if not self.sitters[row.name].faces:
            remarks.append(f"no face was found in {row.image}; the sound moves all of the picture")
        return remarks

    def pictures(
        self, row: Row, recording: Recording, unfinished: Unfinished, progress: Callable[[float], None]
    ) -> Iterator[np.ndarray]:
        """Pieces f H W 3 uint8. Raises ValueError where memory does not suffice, CannotGoOn where other ranks wait then."""
        vars(self).pop("prompt_encoder", None)  # 17 GB that nobody needs any more
        sitter, frames = self.sitters.pop(row.name), self.frames(recording, row.fps)
        with self._memory_advice(sitter.picture, frames):
            clip = self.clip(sitter, recording, row.fps)
            begin, latents = unfinished.found() or (0, self._noise(clip))
            task = told(self.group, Task(on(clip, "cpu"), latents.cpu(), begin, frames))
            latents = self._denoise(task, progress, lambda step, latents: unfinished.keep(step, latents.cpu()))
            yield from self._decode(latents, frames)

    def follow(self) -> None:
        """What all ranks but the first do."""
        while task := told(self.group):
            for _ in self._decode(self._denoise(task), task.frames):
                pass

    def dismiss(self) -> None:
        told(self.group)

    def _sitter(self, row: Row) -> Sitter:
        """From the row's own picture: the largest face speaks, as in the released program."""
        picture = fitted(portrait(row.image), self.settings.image_size)
        faces = sorted(find_faces(picture), key=lambda box: box[2] * box[3])[-1:]
        try:
            prompt, negative = self.prompt_encoder.encode(row.prompt, picture), self.prompt_encoder.negative(picture)
        except torch.OutOfMemoryError:
            raise ValueError(
                "the GPU's memory does not suffice for the text encoders; make a character with server.py prepare on a "
                "larger one, and choose it with --character"
            ) from None
        return Sitter(picture, tuple(faces), on(prompt, "cpu"), on(negative, "cpu"))

    @cached_property
    def character(self) -> Sitter | None:
        """The one who speaks in all rows. Raises ValueError for a folder that cannot be used."""
        folder = self.settings.character
        if folder is None:
            return None
        known, conditions = load_character(folder), load_conditions(folder)
        picture = portrait(folder / "picture.png")
        width, height = picture.size
        faces = tuple(
            (left * width, top * height, (right - left) * width, (bottom - top) * height)
            for left, top, right, bottom in known.face_boxes
        )
        return Sitter(picture, faces, conditions.prompt, conditions.negative, conditions.reference)

    # --- the parts, each loaded when it is first needed ----------------------------------------------------------

    @cached_property
    def prompt_encoder(self) -> "PromptEncoder":
        return self.checkpoint.prompt_encoder(self.device)

    @cached_property
    def transformer(self) -> DiT:
        return self.checkpoint.transformer(self.device, self.mode, self.group)

    @cached_property
    def vae(self) -> VAE:
        return self.checkpoint.vae(self.device, torch.float16 if self.device.type == "cuda" else torch.float32)

    @cached_property
    def hearing(self) -> RecordingEncoder:
        return self.checkpoint.hearing(self.device)

    # --- a clip --------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def clip(self, sitter: Sitter, recording: Recording, fps: float) -> Clip:
        """Everything that steers the clip, in the transformer's type."""
        config, dtype = self.settings.sampling, self.transformer.before_proj.weight.dtype
        window_frames = config.frames_per_latent * (config.window - 1) + 1
        reference = (
            sitter.reference[None] if sitter.reference is not None else self._reference(sitter.picture, window_frames)
        )
        masks = pixel_masks(sitter.faces, sitter.picture.height, sitter.picture.width)
        prompt, negative = (
            Prompt(words.states.to(dtype), words.mask, words.pooled.to(dtype)) for words in (sitter.prompt, sitter.negative)
        )
        made = Clip(
            ref_latents=reference.to(dtype),
            audio_prompts=self._sounds(recording, fps, len(masks), window_frames).to(dtype),
            face_mask=latent_masks(masks, *reference.shape[-2:])[None, :, 0],
            prompt=prompt,
            negative=negative,
            motion_exp=torch.full((1, 4), RELEASED_EXP),
            motion_pose=torch.full((1, 4), RELEASED_POSE),
            fps=torch.tensor([fps]),
        )
        return on(made, self.device)

    def _reference(self, picture: Image.Image, frames: int) -> Tensor:
        """The latents of a film in which the picture stands still, b c t h w."""
        still = pixels(picture).to(self.device, self.vae.post_quant_conv.weight.dtype)
        posterior = self.vae.tiled_encode(still[None, :, None].expand(-1, -1, frames, -1, -1))
        return self.vae.scaled(posterior.sample(torch.Generator().manual_seed(self.settings.seed)))

    def _sounds(self, recording: Recording, fps: float, faces: int, window_frames: int) -> Tensor:
        """b n f window states channels: the first face speaks, the others are silent."""
        pcm = torch.from_numpy(recording.pcm_16k).to(self.device)
        heard = [
            self.hearing.prompts(sound, fps, self.settings.hearing)[:, : self.settings.most_frames]
            for sound in (pcm, torch.zeros_like(pcm))[: min(faces, 2)]
        ]
        return torch.stack([padded(heard[min(face, 1)], window_frames) for face in range(faces)], 1)

    def frames(self, recording: Recording, fps: float) -> int:
        """Pictures of the film: those that are heard, and no more than there is sound for."""
        heard = frame_count(torch.from_numpy(recording.pcm_16k), fps, self.settings.hearing)
        lasting = math.ceil(len(recording.pcm_16k) * fps / MODEL_RATE)
        return min(heard, lasting, self.settings.most_frames or heard)

    def _noise(self, clip: Clip) -> Tensor:
        return clip_noise(clip, self.settings.seed, self.settings.sampling).half()

    def _denoise(
        self, task: Task, progress: Callable[[float], None] = lambda share: None,
        resumable: Callable[[int, Tensor], None] | None = None,
    ) -> Tensor:  # fmt: skip
        """`progress` counts full forward passes; those from cached tokens take next to no time."""
        config, frames = self.settings.sampling, task.latents.shape[2]
        full = [len(windows(frames, step.shift, config)) * (not step.cached) for step in plan(config)]
        done = sum(full[: task.begin])

        def denoise(x: Tensor, conditions: Conditions, cached: StepCache | None) -> tuple[Tensor, StepCache | None]:
            nonlocal done
            made = self.transformer(x, conditions, cached)
            done += cached is None
            progress(done / sum(full))
            return made

        clip, latents = on(task.clip, self.device), task.latents.to(self.device)
        return sample(denoise, clip, latents, config, task.begin, resumable)

    @torch.inference_mode()
    def _decode(self, latents: Tensor, frames: int) -> Iterator[np.ndarray]:
        """So many pictures, in pieces; what follows them was made for a window's sake."""
        latents = self.vae.unscaled(latents.to(self.vae.post_quant_conv.weight.dtype))
        for piece in self.vae.tiled_pictures(latents, self.group):
            shown = (piece[0].float() / 2 + 0.5).clamp(0, 1).mul(255).round().byte()
            yield rearrange(shown, "c f h w -> f h w c").cpu().numpy()[:frames]
            frames -= shown[:, :frames].shape[1]
            if frames == 0:
                return

    @contextmanager
    def _memory_advice(self, picture: Image.Image, frames: int) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError:
            subject = replace(HUNYUAN_AVATAR, offline=self.settings.sampling)
            asked = Attempt(subject, *picture.size, frames, self.group.size, self.mode, memory_bytes(self.device))
            raise (ValueError if self.group.size == 1 else CannotGoOn)(asked.advice()) from None


def memory_bytes(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).total_memory


def on(value: Moved, device: torch.device | str) -> Moved:
    """A dataclass of tensors, and of such dataclasses, on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if is_dataclass(value):
        return replace(value, **{field.name: on(getattr(value, field.name), device) for field in fields(value)})
    return value
