"""A talking face from causal weights: each chunk is one latent frame, made against a cache of what was before.

The cache holds what the network thought while it made its past: keys and values of each frame's last step, at that
step's noise. So nothing is computed twice, and a stream is, number for number, the causal pass over the whole of it that
training does. The cache's positions are relative, so a chunk costs and means the same at any age.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from model import live
from model.attention import CachedStream
from model.audio import AudioEncoder
from model.cache import KVCache
from model.character import Character
from model.device import onto
from model.dit import Conditions, DiT
from model.emotion import Feelings
from model.live import NEUTRAL as NEUTRAL
from model.live import Emotion, Live, padded
from model.look import Look
from model.motion import MOTION_CENTRE, idle_motion, motion_inputs
from model.presets import Preset
from model.rope import rope_table
from model.sampler import add_noise, shifted_sigmas, step_to
from model.tiny_vae import TinyVAE
from model.vae import VAE

FLOW_SHIFT = 1.0


@dataclass(frozen=True)
class State(live.State):
    cache: KVCache


class Generator(Live):
    still_latents = 1

    def __init__(
        self, preset: Preset, audio: AudioEncoder, dit: DiT, vae: TinyVAE | VAE, characters: dict[str, Character],
        motion_strength: float = 1.0, dtype: torch.dtype | None = torch.float32,
        emotions: dict[str, Tensor] | None = None,
    ) -> None:  # fmt: skip
        """`dtype` is what all networks are to compute in; None leaves each as it is."""
        if dtype is not None:
            audio.encoder.to(dtype), dit.to(dtype), vae.to(dtype)
        super().__init__(preset, audio, dit, vae, characters, emotions)
        if isinstance(vae, TinyVAE):
            vae.to(memory_format=torch.channels_last)
        self.motion_strength = motion_strength

        # The cache has a place for each frame of the window, and one for the frame that is being made.
        rows, columns = (s // p for s, p in zip(preset.latent_size, preset.dit.patch_size[1:], strict=True))
        window, self._frame_tokens = preset.dit.causal_window, rows * columns
        times = torch.arange(window + 1, device=self.device)
        cosine, sine = rope_table(times, rows, columns, preset.dit.rope_dim_list, preset.dit.rope_theta)
        self._table = [part.unflatten(0, (-1, self._frame_tokens)) for part in (cosine, sine)]

    def _own(self, rest: State) -> State:
        return replace(rest, cache=rest.cache.clone())

    def _denoise(
        self, states: list[State], heard: list[Tensor], emotions: Sequence[Sequence[Emotion]], steps: int
    ) -> tuple[Tensor, list[State]]:
        """One new latent frame for each session. Every step writes into its place in the cache; the last one stays."""
        tokens = self.dit.audio_tokens(torch.cat(heard)[:, None])  # every face of every session is a row
        sound = padded([part.transpose(0, 1) for part in tokens.split([len(faces) for faces in heard])])
        feelings = self._feelings(states, emotions)
        cache = KVCache.join([state.cache for state in states])
        cache.roll()
        cache.settle(*self._places())
        pattern = CachedStream(cache, *self._places(-1), remember=1)
        mask = padded([self.dit.token_mask(state.look.mask, state.look.reference) for state in states])
        looks = [state.look for state in states]
        reference = torch.cat([look.reference for look in looks])
        exp, pose = (onto(self.device, part) for part in self._motion(states))

        x = torch.cat([self._noise_like(state.look.reference, state) for state in states])
        sigmas = shifted_sigmas(steps, FLOW_SHIFT).tolist()
        for sigma, sigma_next in zip(sigmas[:-1], sigmas[1:], strict=True):
            change = self.dit.stream(x, self._conditions(looks, exp, pose, (sigma,), feelings), sound, mask, pattern)
            # The network says how the clean frame differs from the reference: what does not move stays as it is.
            x = step_to(x, reference + change, sigma, sigma_next)
        return x, [replace(state, cache=cache.select(row)) for row, state in enumerate(states)]

    def _come_to_rest(self, character: Character) -> State:
        """Reference and text as the sink, and a past in which the face has been still and silent all along."""
        config, look = self.preset.dit, self.look(character)
        frames = config.causal_window + 1
        latent = look.reference
        silence = torch.zeros(1, self.preset.audio.window_samples, device=self.device)
        sound = self.dit.audio_tokens(self.audio.prompts(silence).to(self.dtype))
        sound = sound.expand(-1, len(character.faces), -1, -1, -1)
        cache = KVCache.empty(
            config.layers, 1, self._frame_tokens + look.words, self._frame_tokens, frames, self.dit.own_heads,
            config.head_width, self.dtype, self.device,
        )  # fmt: skip
        state = State(character, look, 0, 0, 0, self.decoder.at_rest(latent, look.picture), cache)
        still = latent.expand(-1, -1, frames, -1, -1)
        sigma = shifted_sigmas(self.preset.steps, FLOW_SHIFT)[-2].item()
        at_rest = torch.full((1, frames, 4), MOTION_CENTRE, device=self.device)
        on = self._conditions([look], at_rest, at_rest, (sigma,) * frames)
        self.dit.prefill(on, cache)
        self.dit.stream(
            add_noise(still, self._noise_like(still, state), sigma), on, sound.expand(-1, -1, frames, -1, -1),
            self.dit.token_mask(look.mask, latent).expand(-1, -1, frames, -1, -1),
            CachedStream(cache, *self._places(), remember=frames),
        )  # fmt: skip
        return state

    def _conditions(
        self, looks: list[Look], exp: Tensor, pose: Tensor, sigmas: tuple[float, ...], feelings: Feelings | None = None
    ) -> Conditions:
        batch, first = len(looks), looks[0].prompt
        return Conditions(
            timestep=onto(self.device, torch.tensor(sigmas).mul(1000)).expand(batch, -1),
            motion_exp=exp,
            motion_pose=pose,
            fps=torch.full((batch,), float(self.preset.fps), device=self.device),
            text_states=first.states,  # it is read once, when one character comes to rest
            text_mask=first.mask,
            text_states_2=torch.cat([look.prompt.pooled for look in looks]),
            ref_latents=torch.cat([look.reference for look in looks]),
            audio_prompts=torch.empty(0),
            face_mask=torch.empty(0),
            feelings=feelings,
            words=looks[0].words,
        )

    def _motion(self, states: list[State]) -> tuple[Tensor, Tensor]:
        """exp and pose of the next latent frame, b 1 4 each."""
        per_latent, fps = self.preset.dit.frames_per_latent, self.preset.fps
        inputs = []
        for state in states:
            frames = np.arange(state.chunk_index * per_latent, (state.chunk_index + 1) * per_latent)
            motion = idle_motion(state.seed, frames / fps, state.opened_at * per_latent / fps, self.motion_strength)
            inputs.append(motion_inputs(motion, per_latent))
        exp, pose = (torch.from_numpy(np.stack(part)) for part in zip(*inputs, strict=True))
        return exp, pose

    def _places(self, first: int = 0) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the cache's places from this one on."""
        cosine, sine = (part[first:].flatten(0, 1) for part in self._table)
        return cosine, sine
