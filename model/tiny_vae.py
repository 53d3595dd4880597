"""The tiny causal autoencoder (TAEHV's layout) that turns pictures into latents and back, frame by frame if need be.

Knows nothing of the transformer. Layout of every tensor: batch, time, channels, height, width. Pictures are in [0, 1].
A layer remembers at most its own input of one step earlier, so the state of a stream is a short list of pictures-sized
tensors, and decoding whole or latent by latent gives the same numbers. Source: madebyollin/taehv.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from model.carried import Painting, Still, channels, composed, painting

Memory = list[Tensor]


@dataclass(frozen=True)
class TinyVAEConfig:
    """Sizes of the autoencoder. The defaults are the released TAEHV for HunyuanVideo latents."""

    patch_size: int = 1
    latent_channels: int = 16
    image_channels: int = 3
    encoder_width: int = 64
    encoder_blocks: int = 3
    encoder_time_downscale: tuple[bool, ...] = (True, True, False)
    decoder_widths: tuple[int, ...] = (256, 128, 64, 64)
    decoder_blocks: tuple[int, ...] = (3, 3, 3)
    decoder_time_upscale: tuple[bool, ...] = (False, True, True)
    decoder_space_upscale: tuple[bool, ...] = (True, True, True)
    frames_to_trim: int = 3
    # Both halves also see the still picture that everything moves from: latents say where to, and the decoder carries its
    # pixels along (model/carried.py).
    carries: bool = False

    def __post_init__(self) -> None:
        stages = {len(self.decoder_blocks), len(self.decoder_time_upscale), len(self.decoder_space_upscale)}
        if stages != {len(self.decoder_widths) - 1}:
            raise ValueError(f"decoder stages disagree: {sorted(stages)} against {len(self.decoder_widths)} widths")
        if sum(self.encoder_time_downscale) != sum(self.decoder_time_upscale):
            raise ValueError("the encoder must shrink time as often as the decoder grows it")

    @property
    def frames_per_latent(self) -> int:
        return 2 ** sum(self.encoder_time_downscale)

    @property
    def spatial_factor(self) -> int:
        return self.patch_size * 2 ** len(self.encoder_time_downscale)


def _conv(i: int, o: int, **options) -> nn.Conv2d:
    return nn.Conv2d(i, o, 3, padding=1, **options)


class Clamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class MemBlock(nn.Module):
    """Residual block that also sees its own input of one step earlier: the only memory over time."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(2 * i, o), nn.ReLU(), _conv(o, o), nn.ReLU(), _conv(o, o))
        self.skip = nn.Conv2d(i, o, 1, bias=False) if i != o else nn.Identity()

    def forward(self, x: Tensor, past: Tensor) -> Tensor:
        return F.relu(self.conv(torch.cat([x, past], 1)) + self.skip(x))


class TPool(nn.Module):
    """`stride` consecutive frames become one."""

    def __init__(self, n: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(n * stride, n, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(rearrange(x, "(l s) c h w -> l (s c) h w", s=self.stride))


class TGrow(nn.Module):
    """One frame becomes `stride` consecutive ones."""

    def __init__(self, n: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(n, n * stride, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return rearrange(self.conv(x), "l (s c) h w -> (l s) c h w", s=self.stride)


class TinyVAE(nn.Module):
    def __init__(self, config: TinyVAEConfig) -> None:
        super().__init__()
        self.config = c = config
        pixels = c.image_channels * c.patch_size**2
        w = c.encoder_width
        encoder: list[nn.Module] = [_conv(2 * pixels if c.carries else pixels, w), nn.ReLU()]
        for shrink in c.encoder_time_downscale:
            encoder += [TPool(w, 2 if shrink else 1), _conv(w, w, stride=2, bias=False)]
            encoder += [MemBlock(w, w) for _ in range(c.encoder_blocks)]
        self.encoder = nn.Sequential(*encoder, _conv(w, c.latent_channels))

        seen = 2 * c.latent_channels if c.carries else c.latent_channels
        decoder: list[nn.Module] = [Clamp(), _conv(seen, c.decoder_widths[0]), nn.ReLU()]
        stages = zip(
            c.decoder_widths, c.decoder_widths[1:], c.decoder_blocks,
            c.decoder_space_upscale, c.decoder_time_upscale, strict=False,
        )  # fmt: skip
        for i, o, blocks, grow_space, grow_time in stages:
            decoder += [MemBlock(i, i) for _ in range(blocks)]
            decoder += [nn.Upsample(scale_factor=2 if grow_space else 1), TGrow(i, 2 if grow_time else 1)]
            decoder += [_conv(i, o, bias=False)]
        said = channels(c.patch_size) if c.carries else pixels
        self.decoder = nn.Sequential(*decoder, nn.ReLU(), _conv(c.decoder_widths[-1], said))

    def encode(
        self, frames: Tensor, memory: Memory | None = None, still: Tensor | None = None
    ) -> tuple[Tensor, Memory]:
        """frames b,f,3,H,W in [0,1] -> latents b,t,c,h,w and the memory for the next call.

        f is padded with copies of the last frame to a multiple of `frames_per_latent`. `still` b,3,H,W is what the frames
        move from, where that is carried along; without one the first frame is."""
        missing = -frames.shape[1] % self.config.frames_per_latent
        if missing:
            frames = torch.cat([frames, frames[:, -1:].expand(-1, missing, -1, -1, -1)], 1)
        if self.config.patch_size > 1:
            frames = F.pixel_unshuffle(frames, self.config.patch_size)
        if self.config.carries:
            rest = frames[:, :1] if still is None else F.pixel_unshuffle(still[:, None], self.config.patch_size)
            frames = torch.cat((frames, rest.expand_as(frames)), 2)
        return _run(self.encoder, frames, memory)

    def decode(
        self, latents: Tensor, memory: Memory | None = None, still: Still | None = None
    ) -> tuple[Tensor, Memory]:
        """latents b,t,c,h,w -> frames b,t*frames_per_latent,3,H,W (not clamped) and the memory for the next call.

        `still` is what the frames begin from, where the decoder carries it along; frames are then as large as it is.
        Raises ValueError where such a decoder gets none."""
        if self.config.carries:
            if still is None:
                raise ValueError("this decoder carries a still picture along: it must be given one")
            painted, memory = self.paint(latents, still.latents, memory)
            return composed(painted, still.picture), memory
        frames, memory = _run(self.decoder, latents, memory)
        if self.config.patch_size > 1:
            frames = F.pixel_shuffle(frames, self.config.patch_size)
        return frames, memory

    def paint(self, latents: Tensor, still: Tensor, memory: Memory | None = None) -> tuple[Painting, Memory]:
        """The same up to where the still picture's pixels are needed; `still` is its latents b,c,h,w."""
        beside = torch.cat((latents, still[:, None].expand(-1, latents.shape[1], -1, -1, -1)), 2)
        raw, memory = _run(self.decoder, beside, memory)
        return painting(raw, self.config.patch_size), memory

    def decode_video(self, latents: Tensor) -> Tensor:
        """A whole clip: b,t,c,h,w -> b,f,3,H,W in [0,1], without the first `frames_to_trim` frames."""
        return self.decode(latents)[0][:, self.config.frames_to_trim :].clamp(0, 1)


def _run(layers: nn.Sequential, x: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
    batch = x.shape[0]
    x = rearrange(x, "b t c h w -> (b t) c h w")
    if x.device.type == "cpu":
        x = x.contiguous(memory_format=torch.channels_last)
    remembered: Memory = []
    for layer in layers:
        if isinstance(layer, MemBlock):
            past = torch.empty_like(x)  # of the same memory format, which a concatenation of five axes would lose
            steps, shifted = x.unflatten(0, (batch, -1)), past.unflatten(0, (batch, -1))
            shifted[:, :1] = 0 if memory is None else memory[len(remembered)]
            shifted[:, 1:] = steps[:, :-1]
            remembered.append(steps[:, -1:])
            x = layer(x, past)
        else:
            x = layer(x)
    return rearrange(x, "(b t) c h w -> b t c h w", b=batch), remembered
