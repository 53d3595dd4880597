"""What all live generators share: characters, sessions that begin at rest, and the order of a chunk.

The order is: sound to prompts, prompts and past to latents, latents to pictures. How latents are made is the generator's
own: model/generator.py's from a cached past with causal weights, model/windowed.py's in windows with bidirectional ones. A
session's state is a value. In a chunk nothing waits for the device before the pictures are fetched.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.audio import AudioEncoder
from model.character import Character, load_character
from model.decoding import decoder_of
from model.device import Stages, fetched, onto
from model.dit import DiT
from model.emotion import Feelings
from model.fingerprint import fingerprint
from model.look import Look, drawn, photographed
from model.planning.live_memory import enough_memory
from model.prepared import encoder_of, preset_of
from model.presets import Preset
from model.recent import Recent
from model.renewed import renewed
from model.tiny_vae import TinyVAE
from model.vae import VAE

NEUTRAL = "neutral"  # the emotion that has no picture: the reference itself
REST_BYTES = 512 * 2**20  # of characters at rest that nobody may be looking at

Emotion = tuple[str, float]  # name and intensity, 0 … 1


@dataclass(frozen=True)
class State:
    """All that a session carries from chunk to chunk; each kind of generator adds its past."""

    character: Character
    look: Look
    seed: int
    chunk_index: int  # the next chunk to be made
    opened_at: int  # the chunk at which the face was at rest
    memory: object  # of the decoder


class Live(ABC):
    still_latents: int  # of the character's still that the transformer is shown

    def __init__(
        self, preset: Preset, audio: AudioEncoder, dit: DiT, vae: TinyVAE | VAE, characters: dict[str, Character],
        emotions: dict[str, Tensor] | None = None,
    ) -> None:  # fmt: skip
        """The networks on one device, in the types that they are to compute in."""
        self.preset, self.audio, self.dit, self.vae = preset, audio.eval(), dit.eval(), vae.eval()
        self.decoder = decoder_of(vae)
        self.characters = characters
        self.emotions = emotions or {}  # references for everybody who does not bring their own, c h w each
        self.timings: dict[str, float] = {}
        self._rest: Recent[State] = Recent(REST_BYTES)

    @property
    def info(self) -> dict[str, int | str | tuple[str, ...]]:
        """What the server must know of this preset."""
        p, audio = self.preset, self.preset.audio
        return {
            "name": p.name, "width": p.width, "height": p.height, "fps": p.fps,
            "frames_per_chunk": audio.frames_per_chunk, "model_rate": 16_000,
            "window_samples": audio.window_samples, "lookahead_samples": audio.lookahead_samples,
            "max_batch": p.max_batch, "steps": p.steps, "emotions": (NEUTRAL, *self.emotions) if self.emotions else (),
        }  # fmt: skip

    @property
    def dtype(self) -> torch.dtype:
        return self.dit.before_proj.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.dit.before_proj.weight.device

    # --- characters

    def learn(self, folder: Path) -> Character:
        """One more character, or one anew. Raises ValueError as `read`."""
        character = self.read(folder)
        self.characters[folder.name] = character  # at every moment somebody of that name can be opened, the old or the new
        self._rest.forget(folder.name)
        return character

    def read(self, folder: Path) -> Character:
        """A character that can be learnt. Raises ValueError for a folder that is damaged or another preset's."""
        if (preset := preset_of(folder)) != self.preset.characters_of:
            raise ValueError(f"character {folder.name} is for the preset {preset}, and this is {self.preset.name}")
        made_by = encoder_of(folder)  # before the latents, which whoever makes them anew writes before it
        character = load_character(folder)
        if not self.preset.prepared_as and made_by != fingerprint(self.vae):
            character = renewed(character, self.vae, self.preset)
        expected = (self.preset.dit.in_channels, *self.preset.latent_size)
        if character.ref_latents.shape != expected:
            found = tuple(character.ref_latents.shape)
            raise ValueError(f"character {folder.name} has latents of {found}, not {expected}: prepare it anew")
        self.look(character)
        return character

    def forget(self, name: str) -> None:
        """Sessions that have the character keep it."""
        self.characters.pop(name, None)
        self._rest.forget(name)

    def look(self, character: Character) -> Look:
        """Raises ValueError where the character's folder lacks what this preset needs."""
        p = self.preset
        if p.prepared_as:
            return photographed(character, p.spatial_factor, self.still_latents, self.dtype, self.device)
        carried = (p.width, p.height) if p.carries else None
        return drawn(character, p.dit.text_states_dim, p.dit.text_states_dim_2, self.dtype, self.device, carried)

    # --- sessions

    @torch.inference_mode()
    def open(self, character: str, seed: int, chunk_index: int = 0) -> State:
        """A session at rest whose next chunk is `chunk_index`. Raises KeyError for an unknown character."""
        with enough_memory(self.preset):
            rest = self._own(self._at_rest(character))
        return replace(rest, seed=seed, chunk_index=chunk_index, opened_at=chunk_index)

    def _at_rest(self, name: str) -> State:
        """Of the character as it is now: one that was changed while somebody brought the old one to rest, comes anew."""
        while True:
            who = self.characters[name]
            rest = self._rest.get(name, partial(self._come_to_rest, who))
            if rest.character is who:
                return rest
            self._rest.forget(name)

    def at(self, state: State, chunk_index: int) -> State:
        """The state, to make this chunk next: chunks that nobody could have seen may be left out."""
        return state if state.chunk_index == chunk_index else replace(state, chunk_index=chunk_index)

    def step(
        self, states: list[State], sounds: Sequence[np.ndarray], emotions: Sequence[Sequence[Emotion]] | None = None,
        steps: int | None = None,
    ) -> tuple[np.ndarray, list[State]]:  # fmt: skip
        """The next chunk of each session: frames b f H W 3 uint8, and the states after them.

        A session's sound is n window_samples, float32 in [-1, 1], a row and an emotion for each of its character's faces;
        without `emotions` all are neutral. The given states must not be used again: their caches are written in place.
        Raises ValueError for sounds or emotions that are not as many as the faces, and for an unknown emotion."""
        emotions = emotions or [[(NEUTRAL, 0.0)] * len(state.character.faces) for state in states]
        for state, sound, felt in zip(states, sounds, emotions, strict=True):
            if not len(sound) == len(felt) == len(state.character.faces):
                raise ValueError(
                    f"{state.character.name} has {len(state.character.faces)} faces, but there are {len(sound)} sounds "
                    f"and {len(felt)} emotions"
                )
        stages = Stages(self.device)
        with torch.inference_mode(), enough_memory(self.preset):
            pictures, after = self._chunk(states, sounds, emotions, steps or self.preset.steps, stages)
            frames = fetched(pictures).numpy()
        self.timings = stages.seconds()
        return frames, after

    def _chunk(
        self, states: list[State], sounds: Sequence[np.ndarray], emotions: Sequence[Sequence[Emotion]], steps: int,
        stages: Stages,
    ) -> tuple[Tensor, list[State]]:  # fmt: skip
        """All of it that happens on the device; nothing in here waits for it."""
        with stages.timed("features"):
            windows = onto(self.device, torch.from_numpy(np.concatenate(sounds)))
            prompts = self.audio.prompts(windows).to(self.dtype)
            heard = list(prompts.split([len(sound) for sound in sounds]))
        with stages.timed("denoise"):
            latents, after = self._denoise(states, heard, emotions, steps)
        with stages.timed("decode"):
            pictures, memories = self.decoder.decode(latents, [state.memory for state in states])
            pictures = pictures.float().mul_(255).clamp_(0, 255).round_().byte().permute(0, 1, 3, 4, 2).contiguous()
        pairs = zip(after, memories, strict=True)
        return pictures, [replace(s, chunk_index=s.chunk_index + 1, memory=memory) for s, memory in pairs]

    # --- what a kind of generator adds

    @abstractmethod
    def _come_to_rest(self, character: Character) -> State:
        """A character before it ever moved: the start of every session, computed once."""

    def _own(self, rest: State) -> State:
        """With what a session writes to in place being its own."""
        return rest

    @abstractmethod
    def _denoise(
        self, states: list[State], heard: list[Tensor], emotions: Sequence[Sequence[Emotion]], steps: int
    ) -> tuple[Tensor, list[State]]:
        """The chunk's latents b c t h w, and the states with their pasts renewed. What a session hears is n f window
        states channels."""

    # --- what both need

    def _feelings(self, states: list[State], emotions: Sequence[Sequence[Emotion]]) -> Feelings | None:
        """References and strengths for all faces; None, and no work, where everybody is neutral."""
        gain = self.preset.emotion_gain
        strengths = [[0.0 if name == NEUTRAL else gain * intensity for name, intensity in row] for row in emotions]
        if not any(map(any, strengths)):
            return None
        references = [
            torch.stack([self._reference(state.character, name) for name, _ in row])[None, :, None]
            for state, row in zip(states, emotions, strict=True)
        ]
        strength = padded([torch.tensor(row)[None, :, None, None] for row in strengths])
        both = (onto(self.device, x.to(self.dtype)) for x in (padded(references), strength))
        return Feelings(*both)

    def _reference(self, character: Character, emotion: str) -> Tensor:
        known = {NEUTRAL: character.ref_latents} | self.emotions | character.emotions
        if emotion not in known:
            raise ValueError(f"{character.name} cannot look {emotion!r}; there are: {', '.join(known)}")
        return known[emotion]

    def _noise_like(self, latents: Tensor, state: State) -> Tensor:
        """Depends on the session's seed and the chunk alone, so that a resumed session goes on with the same numbers."""
        generator = torch.Generator().manual_seed((state.seed * 1_000_003 + state.chunk_index) % 2**63)
        return onto(self.device, torch.randn(latents.shape, generator=generator).to(self.dtype))


def padded(parts: Sequence[Tensor]) -> Tensor:
    """1 n … of each session -> one batch; who has fewer faces gets zeros, as a mask: no place in the picture."""
    faces = max(part.shape[1] for part in parts)
    if all(part.shape[1] == faces for part in parts):
        return torch.cat(list(parts))
    return torch.cat([torch.cat((p, p.new_zeros(1, faces - p.shape[1], *p.shape[2:])), 1) for p in parts])
