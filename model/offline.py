"""A whole clip at once, as the released program makes one: guidance, windows over a ring of latent frames, cached steps.

Knows nothing of the network: the denoiser is a callable with the signature of `DiT.forward`, so a DiT is one as it stands,
in whatever type the clip's tensors have. Where the released program has an accident the default reproduces it, and a field
of `SamplingConfig` does the sensible thing. Letters: b clips, c channels, t latent frames, f video frames, h w latent grid.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.dit import Conditions, StepCache
from model.emotion import Feelings
from model.sampler import euler_step, shifted_sigmas

# Two rows per clip, what steers them, tokens to reuse -> velocity, and tokens for later reuse (they may be None only
# without `deepcache`). Tokens are laid out as in StepCache, latent frames along the second axis.
Denoiser = Callable[[Tensor, Conditions, StepCache | None], tuple[Tensor, StepCache | None]]

FRAMES = -4  # axis of a clip's audio prompts
RELEASED_STEPS = 50
RELEASED_GUIDANCE = 7.5


@dataclass(frozen=True)
class SamplingConfig:
    """The defaults are the released settings, accidents included; each of the switches leads out of one."""

    steps: int = RELEASED_STEPS
    flow_shift: float = 5.0
    guidance_scale: float = RELEASED_GUIDANCE
    window: int = 33  # latent frames of one forward
    seam_shift: int = 10  # latent frames by which the windows move back after every step
    frames_per_latent: int = 4
    # Reuse the tokens of an earlier step in two steps of five. The released program has a switch for it and never reads it.
    deepcache: bool = True
    # Phases begin and end at step numbers that were chosen for 50 steps, whatever `steps` is: 30 of them end on four cached
    # ones, and past the fiftieth all are cached. False: at the same shares of `steps`.
    phases_of_fifty_steps: bool = True
    # From step 10 on guidance falls from 5.9 to 3.5 for any scale. False: in proportion to the scale, the same at 7.5.
    late_guidance_ignores_scale: bool = True
    # Latents are rounded to bfloat16 after every step, whatever type they are kept in. False: not rounded.
    bfloat16_steps: bool = True

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"at least one step is needed, got {self.steps}")
        if self.window < 2:
            raise ValueError(f"a window needs at least two latent frames, got {self.window}")


@dataclass(frozen=True)
class Prompt:
    """States of the text encoders: states b l c, mask b l (1 = valid), pooled b c."""

    states: Tensor
    mask: Tensor
    pooled: Tensor


@dataclass(frozen=True)
class Clip:
    """What is to be made, and what steers it. Both prompts have the same length.

    ref_latents b c t h w, t being the window; audio_prompts b n f window states channels, f being the video frames to
    make, without n where there is one face; face_mask b n 1 h w; motion_exp, motion_pose b 4; fps b.
    """

    ref_latents: Tensor
    audio_prompts: Tensor
    face_mask: Tensor
    prompt: Prompt
    negative: Prompt
    motion_exp: Tensor
    motion_pose: Tensor
    fps: Tensor
    feelings: Feelings | None = None  # strength with one place for all frames


# --- what happens in which step --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    sigma: float
    sigma_next: float
    guidance: float
    negative_prompt: bool  # whether the unconditional row has the negative prompt; it never has sound
    mask_scale: float
    cached: bool
    feeds_cache: bool  # a cached step comes next
    shift: int  # latent frames by which the windows stand back, where there is more than one


def plan(config: SamplingConfig) -> tuple[Step, ...]:
    """Every step of a clip: a search for the pose first (negative prompt, sound held back), then for the lips."""
    sigmas = shifted_sigmas(config.steps, config.flow_shift).tolist()
    cached = [is_cached(i, config) for i in range(config.steps)]
    return tuple(
        Step(
            sigma=sigmas[i],
            sigma_next=sigmas[i + 1],
            guidance=guidance(i, config),
            negative_prompt=is_early(i, config),
            mask_scale=0.6 if is_early(i, config) else 1.0,
            cached=cached[i],
            feeds_cache=any(cached[i + 1 : i + 2]),
            shift=i * config.seam_shift % config.window,
        )
        for i in range(config.steps)
    )


def is_early(step: int, config: SamplingConfig) -> bool:
    """The first fifth: steps 0 to 9 of 50."""
    return 5 * step < _steps_of_phases(config)


def is_cached(step: int, config: SamplingConfig) -> bool:
    """Of 50 steps, 0 to 14 and 41 to 49 are computed in full, between them every fifth (a tenth of all), and none after."""
    steps = _steps_of_phases(config)
    full = 10 * step < 3 * steps or 5 * step > 4 * steps or step % max(1, steps // 10) == 0
    return config.deepcache and not (full and step < steps)


def guidance(step: int, config: SamplingConfig) -> float:
    """How far beyond the unconditional prediction to go: falls linearly, in two phases."""
    left = 1 - step / config.steps
    if is_early(step, config):
        return left * (config.guidance_scale - 2) + 2
    late = left * 3 + 3.5
    return late if config.late_guidance_ignores_scale else late * config.guidance_scale / RELEASED_GUIDANCE


def _steps_of_phases(config: SamplingConfig) -> int:
    return RELEASED_STEPS if config.phases_of_fifty_steps else config.steps


# --- which frames happen together ------------------------------------------------------------------------------------


def latent_frames(video_frames: int, config: SamplingConfig) -> tuple[int, int]:
    """How many latent frames are denoised for a clip, and how many of them are kept.

    A clip of one window is one window. Longer ones are rounded up, so that 256 frames denoise 97 to keep 65."""
    kept = video_frames // config.frames_per_latent + 1
    if kept <= config.window:
        return config.window, kept
    stride = config.window - 1
    return (video_frames // (config.frames_per_latent * stride) + 1) * stride + 1, kept


def windows(frames: int, shift: int, config: SamplingConfig) -> list[list[int]]:
    """Latent frames of each forward of a step. They form a ring: the clip's end and start share a window.

    Windows hardly overlap; that they move from step to step is what makes one clip of them."""
    if frames == config.window:
        shift = 0
    return [
        [(start - shift + place) % frames for place in range(config.window)] for start in range(0, frames, config.window)
    ]


def sound_frames(window: Sequence[int], frames: int, config: SamplingConfig) -> list[int]:
    """Video frames whose sound a window gets: every window is a clip of its own, whose first latent is a single frame."""
    per_latent = config.frames_per_latent
    first, count = window[0] * per_latent, (len(window) - 1) * per_latent + 1
    return [(first + place) % (frames * per_latent) for place in range(count)]


@dataclass(frozen=True)
class KeptTokens:
    """What the latest full step left for the cached ones, found again by latent frame: the windows have moved since.

    Reference and text tokens exist once per window; a moved window takes those that belonged to its first latent frame."""

    windows: list[list[int]]
    caches: list[StepCache]

    def read(self, window: Sequence[int]) -> StepCache:
        home = {
            frame: (cache, place)
            for old, cache in zip(self.windows, self.caches, strict=True)
            for place, frame in enumerate(old, 1)
        }  # where two windows overlapped, the later one holds
        first, _ = home[window[0]]
        image = [cache.image[:, place] for cache, place in map(home.__getitem__, window)]
        return StepCache(torch.stack([first.image[:, 0], *image], 1), first.text)


# --- the loop --------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def sample(
    denoise: Denoiser, clip: Clip, noise: Tensor, config: SamplingConfig | None = None,
    begin: int = 0, resumable: Callable[[int, Tensor], None] | None = None,
) -> Tensor:  # fmt: skip
    """Noise b c t h w with at least the frames of `latent_frames` -> the clip's latents, of noise's type, frames kept only.

    The released program draws its noise in float16, and keeps latents so. Before each step that needs no kept tokens
    `resumable` is told its number and the latents; given as `begin` and `noise` they give the same clip without the steps
    before. Raises ValueError where sizes do not fit."""
    config = config or SamplingConfig()
    frames, kept_frames = latent_frames(clip.audio_prompts.shape[FRAMES], config)
    if noise.shape[2] < frames:
        raise ValueError(f"this clip needs noise for {frames} latent frames, got {noise.shape[2]}")
    if clip.ref_latents.shape[2] != config.window:
        raise ValueError(f"reference latents must fill a window of {config.window}, got {clip.ref_latents.shape[2]}")
    clip = replace(clip, audio_prompts=_padded(clip.audio_prompts, frames * config.frames_per_latent))
    latents, kept = noise[:, :, :frames], None
    for number, step in enumerate(plan(config)[begin:], begin):
        if not step.cached:
            kept = None  # gigabytes at full size: free them before the next ones are made
            if resumable:
                resumable(number, latents)
        latents, kept = advance(denoise, clip, latents, step, kept, config)
    return latents[:, :, :kept_frames]


def clip_noise(clip: Clip, seed: int, config: SamplingConfig | None = None) -> Tensor:
    """Noise for `sample` from a seed, float32, the same numbers on every device."""
    frames, _ = latent_frames(clip.audio_prompts.shape[FRAMES], config or SamplingConfig())
    batch, channels, _, rows, columns = clip.ref_latents.shape
    noise = torch.randn(batch, channels, frames, rows, columns, generator=torch.Generator().manual_seed(seed))
    return noise.to(clip.ref_latents.device)


def advance(
    denoise: Denoiser, clip: Clip, latents: Tensor, step: Step, kept: KeptTokens | None, config: SamplingConfig
) -> tuple[Tensor, KeptTokens | None]:
    """One step of all windows, averaged where they overlap. The clip's sound is padded to four frames for each latent."""
    frames = latents.shape[2]
    ring, caches = windows(frames, step.shift, config), []
    total, visits = torch.zeros_like(latents), latents.new_zeros(frames, 1, 1)
    for window in ring:
        sound = clip.audio_prompts[..., sound_frames(window, frames, config), :, :, :]
        x = latents[:, :, window]
        cached = kept.read(window) if step.cached else None
        velocity, cache = denoise(torch.cat((x, x)).to(clip.ref_latents.dtype), conditions(clip, sound, step), cached)
        moved = euler_step(x, guided(velocity, step.guidance), step.sigma, step.sigma_next)
        total[:, :, window] += (moved.bfloat16() if config.bfloat16_steps else moved).to(total.dtype)
        visits[window] += 1
        if step.feeds_cache and not step.cached:
            caches.append(cache)
    return total / visits, KeptTokens(ring, caches) if caches else kept


def conditions(clip: Clip, sound: Tensor, step: Step) -> Conditions:
    """Two rows for each clip, all unconditional ones first. They share everything but sound and, early on, the prompt."""
    rows = (clip.negative if step.negative_prompt else clip.prompt, clip.prompt)

    def both(x: Tensor) -> Tensor:
        return torch.cat((x, x))

    return Conditions(
        timestep=both(torch.full_like(clip.fps, 1000 * step.sigma, dtype=torch.float32)),
        motion_exp=both(clip.motion_exp),
        motion_pose=both(clip.motion_pose),
        fps=both(clip.fps),
        text_states=torch.cat([prompt.states for prompt in rows]),
        text_mask=torch.cat([prompt.mask for prompt in rows]),
        text_states_2=torch.cat([prompt.pooled for prompt in rows]),
        ref_latents=both(clip.ref_latents),
        audio_prompts=torch.cat((torch.zeros_like(sound), sound)),
        face_mask=both(clip.face_mask) * step.mask_scale,
        feelings=clip.feelings and Feelings(both(clip.feelings.latents), both(clip.feelings.strength)),
    )


def guided(velocity: Tensor, scale: float) -> Tensor:
    """Rows of `conditions` -> one prediction for each clip, float32."""
    without, with_ = velocity.float().chunk(2)
    return without + scale * (with_ - without)


def _padded(sound: Tensor, frames: int) -> Tensor:
    """Zeros after the end. They are what the unconditional row hears too, and not what silence sounds like."""
    shape = list(sound.shape)
    shape[FRAMES] = frames - shape[FRAMES]
    return torch.cat((sound, sound.new_zeros(shape)), FRAMES)
