"""One chunk of a talking face: (state, sound) -> (frames, state), for a batch of sessions.

The only file that knows the order: sound to prompts, prompts and motion to latents, latents to pictures. A session's
state is a value; its past lies in a cache whose positions are relative, so a chunk costs and means the same at any age.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.attention import CachedStream
from model.audio import AudioEncoder
from model.cache import KVCache
from model.character import Character, load_character
from model.dit import Conditions, DiT
from model.emotion import Feelings
from model.motion import idle_motion, motion_inputs
from model.prepared import preset_of
from model.presets import Preset
from model.rope import rope_table
from model.sampler import shifted_sigmas, step_to
from model.text import no_text
from model.tiny_vae import Memory, TinyVAE

FLOW_SHIFT = 1.0
NEUTRAL = "neutral"  # the emotion that has no picture: the reference itself

Emotion = tuple[str, float]  # name and intensity, 0 … 1


@dataclass(frozen=True)
class State:
    """All that a session carries from chunk to chunk."""

    character: Character
    seed: int
    chunk_index: int  # the next chunk to be made
    opened_at: int  # the chunk at which the face was at rest
    cache: KVCache
    latent: Tensor  # the last clean latent, 1 c 1 h w: enters the cache together with the next chunk
    sound: Tensor  # its audio tokens, 1 n 1 a d
    memory: Memory  # of the decoder


@dataclass(frozen=True)
class Rest:
    """A character before it ever moved: the start of every session, computed once."""

    cache: KVCache
    latent: Tensor
    sound: Tensor
    memory: Memory


class Generator:
    def __init__(
        self, preset: Preset, audio: AudioEncoder, dit: DiT, vae: TinyVAE, characters: dict[str, Character],
        motion_strength: float = 1.0, dtype: torch.dtype = torch.float32, emotions: dict[str, Tensor] | None = None,
    ) -> None:  # fmt: skip
        self.preset, self.audio, self.dit, self.vae = preset, audio.eval(), dit.eval().to(dtype), vae.eval().to(dtype)
        self.audio.encoder.to(dtype)
        self.vae.to(memory_format=torch.channels_last)
        self.characters = characters
        self.emotions = emotions or {}  # references for everybody who does not bring their own, c h w each
        self.motion_strength = motion_strength
        self.timings: dict[str, float] = {}
        self._rest: dict[str, Rest] = {}

        rows, columns = (s // p for s, p in zip(preset.latent_size, preset.dit.patch_size[1:], strict=True))
        window, self._frame_tokens = preset.dit.causal_window, rows * columns
        times = torch.arange(window + 1)
        cosine, sine = rope_table(times, rows, columns, preset.dit.rope_dim_list, preset.dit.rope_theta)
        self._table = [part.unflatten(0, (-1, self._frame_tokens)) for part in (cosine, sine)]

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

    @torch.inference_mode()
    def open(self, character: str, seed: int, chunk_index: int = 0) -> State:
        """A session at rest whose next chunk is `chunk_index`. Raises KeyError for an unknown character."""
        if character not in self._rest:
            self._rest[character] = self._come_to_rest(self.characters[character])
        rest = self._rest[character]
        return State(
            self.characters[character], seed, chunk_index, chunk_index,
            rest.cache.clone(), rest.latent, rest.sound, list(rest.memory),
        )  # fmt: skip

    def learn(self, folder: Path) -> Character:
        """One more character, or one anew. Raises ValueError for a folder that is damaged or another preset's."""
        if (preset := preset_of(folder)) != self.preset.name:
            raise ValueError(f"character {folder.name} is for the preset {preset}, and this is {self.preset.name}")
        character = load_character(folder)
        expected = (self.preset.dit.in_channels, *self.preset.latent_size)
        if character.ref_latents.shape != expected:
            found = tuple(character.ref_latents.shape)
            raise ValueError(f"character {folder.name} has latents of {found}, not {expected}: prepare it anew")
        self.forget(folder.name)
        self.characters[folder.name] = character
        return character

    def forget(self, name: str) -> None:
        """Sessions that have the character keep it."""
        self.characters.pop(name, None)
        self._rest.pop(name, None)

    def at(self, state: State, chunk_index: int) -> State:
        """The state, to make this chunk next: chunks that nobody could have seen may be left out."""
        return state if state.chunk_index == chunk_index else replace(state, chunk_index=chunk_index)

    @torch.inference_mode()
    def step(
        self, states: list[State], sounds: Sequence[np.ndarray], emotions: Sequence[Sequence[Emotion]] | None = None,
        steps: int | None = None,
    ) -> tuple[np.ndarray, list[State]]:  # fmt: skip
        """The next chunk of each session: frames b f H W 3 uint8, and the states after them.

        A session's sound is n window_samples, float32 in [-1, 1], a row and an emotion for each of its character's faces;
        without `emotions` all are neutral. The given states must not be used again: their caches are written in place.
        Raises ValueError for sounds or emotions that are not as many as the faces, and for an unknown emotion."""
        self.timings = {}
        emotions = emotions or [[(NEUTRAL, 0.0)] * len(state.character.faces) for state in states]
        for state, sound, felt in zip(states, sounds, emotions, strict=True):
            if not len(sound) == len(felt) == len(state.character.faces):
                raise ValueError(
                    f"{state.character.name} has {len(state.character.faces)} faces, but there are {len(sound)} sounds "
                    f"and {len(felt)} emotions"
                )
        with self._timed("features"):
            prompts = self.audio.prompts(torch.from_numpy(np.concatenate(sounds)))
            tokens = self.dit.audio_tokens(prompts.to(self.dtype)[:, None])  # every face of every session is a row
            sound = padded([part.transpose(0, 1) for part in tokens.split([len(sound) for sound in sounds])])
        with self._timed("denoise"):
            cache = KVCache.join([state.cache for state in states])
            latents = self._denoise(states, cache, sound, self._feelings(states, emotions), steps or self.preset.steps)
        with self._timed("decode"):
            memory = [torch.cat(parts) for parts in zip(*(state.memory for state in states), strict=True)]
            frames, memory = self.vae.decode(latents.transpose(1, 2), memory)
            frames = frames.float().mul_(255).clamp_(0, 255).round_().byte().permute(0, 1, 3, 4, 2).contiguous().numpy()
        after = [
            replace(
                state, chunk_index=state.chunk_index + 1, cache=cache.select(row), latent=latents[row : row + 1],
                sound=sound[row : row + 1, : len(state.character.faces)], memory=[part[row : row + 1] for part in memory],
            )
            for row, state in enumerate(states)
        ]  # fmt: skip
        return frames, after

    def _denoise(
        self, states: list[State], cache: KVCache, sound: Tensor, feelings: Feelings | None, steps: int
    ) -> Tensor:
        """One new latent frame for each session, b c 1 h w.

        The first pass also carries the frame before it, clean, into the cache: one pass less a chunk."""
        window = self.preset.dit.causal_window
        cache.roll()
        cache.settle(*self._rope(slice(0, window)))
        past = torch.cat([state.latent for state in states])
        past_sound = padded([state.sound for state in states])
        mask = padded([self.dit.token_mask(s.character.face_mask(), s.latent) for s in states]).to(self.dtype)
        exp, pose = self._motion(states)
        reference = torch.stack([s.character.ref_latents for s in states])[:, :, None].to(self.dtype)

        x = torch.cat([self._noise(state) for state in states])
        sigmas = shifted_sigmas(steps, FLOW_SHIFT).tolist()
        for sigma, sigma_next in zip(sigmas[:-1], sigmas[1:], strict=True):
            if sigma == sigmas[0]:
                on = self._conditions(states, exp, pose, (0.0, sigma), feelings)
                pattern = CachedStream(cache, *self._rope(slice(window - 1, window + 1)), self._carry_mask(), remember=1)
                change = self.dit.stream(
                    torch.cat((past, x), 2), on, torch.cat((past_sound, sound), 2), mask.repeat(1, 1, 2, 1, 1), pattern
                )[:, :, 1:]
            else:
                on = self._conditions(states, exp[:, 1:], pose[:, 1:], (sigma,), feelings)
                pattern = CachedStream(cache, *self._rope(slice(window, window + 1)))
                change = self.dit.stream(x, on, sound, mask, pattern)
            # The network says how the clean frame differs from the reference: what does not move stays as it is.
            x = step_to(x, reference + change, sigma, sigma_next)
        return x

    def _come_to_rest(self, character: Character) -> Rest:
        """Reference and text as the sink, and a past in which the face has been still and silent all along."""
        window, config = self.preset.dit.causal_window, self.preset.dit
        latent = character.ref_latents[None, :, None].to(self.dtype)
        silence = torch.zeros(1, self.preset.audio.window_samples)
        sound = self.dit.audio_tokens(self.audio.prompts(silence).to(self.dtype))
        sound = sound.expand(-1, len(character.faces), -1, -1, -1)
        text_tokens = 1
        cache = KVCache.empty(
            config.layers, 1, self._frame_tokens + text_tokens, self._frame_tokens, window, self.dit.own_heads,
            config.head_width, self.dtype,
        )  # fmt: skip
        still = State(character, 0, 0, 0, cache, latent, sound, [])
        at_rest = torch.full((1, window, 4), 30.0)
        on = self._conditions([still], at_rest, at_rest, (0.0,) * window)
        self.dit.prefill(on, cache)
        frame = torch.arange(window).repeat_interleave(self._frame_tokens)
        causal = torch.cat(
            (torch.ones(len(frame), cache.sink_tokens, dtype=torch.bool), frame[:, None] >= frame[None, :]), 1
        )
        mask = self.dit.token_mask(character.face_mask(), latent).to(self.dtype)
        self.dit.stream(
            latent.expand(-1, -1, window, -1, -1), on, sound.expand(-1, -1, window, -1, -1),
            mask.expand(-1, -1, window, -1, -1),
            CachedStream(cache, *self._rope(slice(0, window)), causal[None, None], remember=window),
        )  # fmt: skip
        memory: Memory | None = None
        for _ in range(4):
            _, memory = self.vae.decode(latent.transpose(1, 2), memory)
        return Rest(cache, latent, sound, memory)

    def _feelings(self, states: list[State], emotions: Sequence[Sequence[Emotion]]) -> Feelings | None:
        """References and strengths for all faces; None, and no work, where everybody is neutral."""
        strengths = [[0.0 if name == NEUTRAL else intensity for name, intensity in row] for row in emotions]
        if not any(map(any, strengths)):
            return None
        references = [
            torch.stack([self._reference(state.character, name) for name, _ in row])[None, :, None]
            for state, row in zip(states, emotions, strict=True)
        ]
        strength = padded([torch.tensor(row)[None, :, None, None] for row in strengths])
        return Feelings(padded(references).to(self.dtype), strength.to(self.dtype))

    def _reference(self, character: Character, emotion: str) -> Tensor:
        known = {NEUTRAL: character.ref_latents} | self.emotions | character.emotions
        if emotion not in known:
            raise ValueError(f"{character.name} cannot look {emotion!r}; there are: {', '.join(known)}")
        return known[emotion]

    def _conditions(
        self, states: list[State], exp: Tensor, pose: Tensor, sigmas: tuple[float, ...], feelings: Feelings | None = None
    ) -> Conditions:
        batch, config = len(states), self.preset.dit
        text, text_mask = no_text(batch, config.text_states_dim)
        return Conditions(
            timestep=torch.tensor(sigmas).mul(1000).expand(batch, -1),
            motion_exp=exp,
            motion_pose=pose,
            fps=torch.full((batch,), float(self.preset.fps)),
            text_states=text.to(self.dtype),
            text_mask=text_mask,
            text_states_2=torch.zeros(batch, config.text_states_dim_2, dtype=self.dtype),
            ref_latents=torch.stack([s.character.ref_latents for s in states])[:, :, None].to(self.dtype),
            audio_prompts=torch.empty(0),
            face_mask=torch.empty(0),
            feelings=feelings,
        )

    def _motion(self, states: list[State]) -> tuple[Tensor, Tensor]:
        """exp and pose of the last and the next latent frame, b 2 4 each."""
        per_latent, fps = self.preset.dit.frames_per_latent, self.preset.fps
        inputs = []
        for state in states:
            frames = np.arange((state.chunk_index - 1) * per_latent, (state.chunk_index + 1) * per_latent)
            motion = idle_motion(state.seed, frames / fps, state.opened_at * per_latent / fps, self.motion_strength)
            inputs.append(motion_inputs(motion, per_latent))
        exp, pose = (torch.from_numpy(np.stack(part)) for part in zip(*inputs, strict=True))
        return exp, pose

    def _noise(self, state: State) -> Tensor:
        """Depends on the session's seed and the chunk alone, so that a resumed session goes on with the same numbers."""
        generator = torch.Generator().manual_seed((state.seed * 1_000_003 + state.chunk_index) % 2**63)
        return torch.randn(state.latent.shape, generator=generator).to(self.dtype)

    def _rope(self, frames: slice) -> tuple[Tensor, Tensor]:
        cosine, sine = (part[frames].flatten(0, 1) for part in self._table)
        return cosine, sine

    def _carry_mask(self) -> Tensor:
        """Two new frames: the older one must not see the newer. The past they meet is one frame short of the window."""
        tokens, past = self._frame_tokens, self._frame_tokens * self.preset.dit.causal_window + 1
        mask = torch.ones(2 * tokens, past + 2 * tokens, dtype=torch.bool)
        mask[:tokens, past + tokens :] = False
        return mask[None, None]

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.timings[stage] = time.perf_counter() - started


def padded(parts: Sequence[Tensor]) -> Tensor:
    """1 n … of each session -> one batch; who has fewer faces gets zeros, as a mask: no place in the picture."""
    faces = max(part.shape[1] for part in parts)
    if all(part.shape[1] == faces for part in parts):
        return torch.cat(list(parts))
    return torch.cat([torch.cat((p, p.new_zeros(1, faces - p.shape[1], *p.shape[2:])), 1) for p in parts])
