"""A talking face from bidirectional weights: windows of latents, each of which begins with the end of the one before.

Such weights see a whole window at one noise level. So in every denoising step the latents that are known stand at that
level too, as if they were being made again, and only the new ones move; these agree with the past because they are
predicted together with it. Every window is a clip of its own to the network, as it is in the released program.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model import live
from model.character import Character
from model.dit import Conditions
from model.emotion import Feelings
from model.live import Emotion, Live
from model.look import Look
from model.motion import RELEASED_EXP, RELEASED_POSE
from model.sampler import add_noise, euler_step, shifted_sigmas


@dataclass(frozen=True)
class State(live.State):
    latents: Tensor  # the newest, clean: 1 c t h w, as many as a window has past ones
    prompts: Tensor  # what their pictures hear: 1 n f window states channels


class Windowed(Live):
    @property
    def still_latents(self) -> int:
        return self.preset.window.latents

    def _come_to_rest(self, character: Character) -> State:
        """The beginning of a clip in which the picture stands still in silence."""
        look, past = self.look(character), self.preset.window.past
        latents = look.reference[:, :, :past]
        silence = torch.zeros(1, self.preset.audio.window_samples, device=self.device)
        heard = self.audio.prompts(silence).to(self.dtype)[:, None, -1:]
        prompts = heard.expand(-1, len(character.faces), self._pictures(past), -1, -1, -1)
        memory = self.decoder.at_rest(latents[:, :, -1:])
        return State(character, look, 0, 0, 0, memory, latents, prompts)

    def _denoise(
        self, states: list[State], heard: list[Tensor], emotions: Sequence[Sequence[Emotion]], steps: int
    ) -> tuple[Tensor, list[State]]:
        """A session at a time: one is as much as a device can do, and prompts of different lengths need no mask so."""
        made = [
            self._go_on(state, own[None], self._feelings([state], [felt]), steps)
            for state, own, felt in zip(states, heard, emotions, strict=True)
        ]
        return torch.cat([latents for latents, _ in made]), [state for _, state in made]

    def _go_on(self, state: State, heard: Tensor, feelings: Feelings | None, steps: int) -> tuple[Tensor, State]:
        window = self.preset.window
        prompts = torch.cat((state.prompts, heard), 2)
        sigmas = shifted_sigmas(steps, window.flow_shift).tolist()

        def velocity(x: Tensor, sigma: float) -> Tensor:
            on = self._conditions(state.look, prompts, sigma, feelings)
            guided, _ = self.dit(x, on)
            if window.guidance != 1:
                silent, _ = self.dit(x, replace(on, audio_prompts=torch.zeros_like(prompts)))
                guided = silent + window.guidance * (guided - silent)
            return guided

        noise = self._noise_like(state.look.reference, state)
        new = continued(velocity, state.latents, noise, sigmas)
        latents = torch.cat((state.latents, new), 2)[:, :, -window.past :]
        return new, replace(state, latents=latents, prompts=prompts[:, :, -self._pictures(window.past) :])

    def _conditions(self, look: Look, prompts: Tensor, sigma: float, feelings: Feelings | None) -> Conditions:
        def same(value: float, *shape: int) -> Tensor:
            return torch.full((1, *shape), value, device=self.device)

        return Conditions(
            timestep=same(1000 * sigma),
            motion_exp=same(RELEASED_EXP, 4),
            motion_pose=same(RELEASED_POSE, 4),
            fps=same(float(self.preset.fps)),
            text_states=look.prompt.states,
            text_mask=look.prompt.mask,
            text_states_2=look.prompt.pooled,
            ref_latents=look.reference,
            audio_prompts=prompts,
            face_mask=look.mask,
            feelings=feelings,
            words=look.words,
        )

    def _pictures(self, latents: int) -> int:
        """Of a clip's first latents, the very first of which is a single picture."""
        return self.preset.dit.frames_per_latent * (latents - 1) + 1


def continued(velocity: Callable[[Tensor, float], Tensor], past: Tensor, noise: Tensor, sigmas: list[float]) -> Tensor:
    """Clean latents b c t h w and noise for a whole window -> the new latents of that window.

    `velocity` is asked for a window x b c t h w at one noise level. sigmas from 1 to 0."""
    known = past.shape[2]
    x = noise[:, :, known:]
    for sigma, sigma_next in zip(sigmas[:-1], sigmas[1:], strict=True):
        held = add_noise(past, noise[:, :, :known], sigma)
        new = velocity(torch.cat((held, x), 2), sigma)[:, :, known:]
        x = euler_step(x, new, sigma, sigma_next)
    return x
