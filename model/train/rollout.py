"""What the stream would show: whole clips, frame by frame against the cache, each standing on the ones made before.

The route is that of `Generator`, for a batch of recorded clips and with one step from noise to picture.
"""

import copy
from dataclasses import replace

import torch
from torch import Tensor

from model.attention import CachedStream
from model.cache import KVCache
from model.dit import Conditions, DiT
from model.train.precision import quick_type


@torch.no_grad()
def roll_out(dit: DiT, latents: Tensor, on: Conditions) -> Tensor:
    """Films b t c h w that begin with the window's worth of the given latents, and one frame more, and go on alone.

    `on` has everything per frame, as for the forward pass; its timesteps are not read."""
    kind = quick_type(latents.device.type)
    dit = copy.deepcopy(dit).to(kind).eval()
    config, window = dit.config, dit.config.causal_window
    batch, frames = latents.shape[:2]
    x = latents.transpose(1, 2).to(kind)
    sound, mask = dit.audio_tokens(on.audio_prompts.to(kind)), dit.token_mask(on.face_mask, x)
    on = _narrow(on, kind)
    reference = on.ref_latents
    rows, columns = dit.grid(x)
    table = dit.rope(torch.arange(window + 1), rows, columns, x.device)
    cosine, sine = (part.unflatten(0, (window + 1, -1)) for part in table)

    def see(x: Tensor, at: slice, sigmas: list[float], places: slice, remember: int) -> Tensor:
        now = replace(
            on, timestep=torch.tensor(sigmas, device=x.device).mul(1000).to(kind).expand(batch, -1),
            motion_exp=on.motion_exp[:, at], motion_pose=on.motion_pose[:, at],
            feelings=replace(on.feelings, strength=on.feelings.strength[..., at]),
        )  # fmt: skip
        pattern = CachedStream(cache, cosine[places].flatten(0, 1), sine[places].flatten(0, 1), remember=remember)
        return dit.stream(x, now, sound[:, :, at], mask[:, :, at], pattern)

    words = on.text_states.shape[1]
    cache = KVCache.empty(
        config.layers, batch, rows * columns + words, rows * columns, window, config.num_heads, config.head_width, x.dtype,
        x.device,
    )  # fmt: skip
    dit.prefill(on, cache)
    see(x[:, :, :window], slice(0, window), [0.0] * window, slice(0, window), window)
    made = [x[:, :, frame : frame + 1] for frame in range(window + 1)]
    for frame in range(window + 1, frames):
        cache.roll()
        cache.settle(cosine[:window].flatten(0, 1), sine[:window].flatten(0, 1))
        pair = torch.cat((made[-1], torch.randn_like(made[-1])), 2)
        change = see(pair, slice(frame - 1, frame + 1), [0.0, 1.0], slice(window - 1, window + 1), 1)
        made.append(reference + change[:, :, 1:])
    return torch.cat(made, 2).transpose(1, 2).float()


def _narrow(on: Conditions, kind: torch.dtype) -> Conditions:
    """All that is not a count in that type, and the reference once."""
    on = replace(on, ref_latents=on.ref_latents[:, :, :1])
    names = ("motion_exp", "motion_pose", "fps", "text_states", "text_states_2", "ref_latents")
    feelings = replace(on.feelings, latents=on.feelings.latents.to(kind), strength=on.feelings.strength.to(kind))
    return replace(on, feelings=feelings, **{name: getattr(on, name).to(kind) for name in names})
