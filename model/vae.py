"""HunyuanVideo's causal 3-D VAE: pictures to latents and back, whole, in tiles, or as a stream of latents.

Parameter names and numbers are the released ones; sizes come from one frozen config. Knows nothing of the transformer.
Layout of every tensor: b c t h w (b c f H W for pictures). Pictures are in [-1, 1]; decoded ones are not clamped. The first
picture is a latent of its own, every later latent is four pictures.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from math import log2

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.parallel import ALONE, Group
from model.tiling import Tiling, tiled, tiled_in_time
from model.vae_layers import CausalConv, DownBlock, Memory, MiddleBlock, Stream, StreamNorm, UpBlock

Factor = tuple[int, int, int]  # time, rows, columns


@dataclass(frozen=True)
class VAEConfig:
    """Sizes of the VAE, named as in its published config.json. The defaults are the released one."""

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 16
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    norm_num_groups: int = 32
    time_compression_ratio: int = 4
    spatial_compression_ratio: int = 8
    mid_block_causal_attn: bool = True
    scaling_factor: float = 0.476986
    shift_factor: float | None = None
    # Tiles: pixels of a side, and frames besides the leading one.
    sample_size: int = 256
    sample_tsize: int = 64
    tile_overlap_factor: float = 0.25
    # Latents before its own that a latent sees in the decoder's middle attention, and that a stream remembers. The released
    # program decodes tiles of at most 17 latents, so it never shows more to any; from the 18th latent of one piece on the
    # numbers are others than the original class's. None: all, as there; a stream's memory then grows for ever.
    attention_past: int | None = 16

    def __post_init__(self) -> None:
        odd = [width for width in self.block_out_channels if width % self.norm_num_groups]
        if odd:
            raise ValueError(f"block_out_channels {odd} must be divisible by norm_num_groups {self.norm_num_groups}")
        levels = len(self.block_out_channels)
        ratios = (self.time_compression_ratio, levels - 1), (self.spatial_compression_ratio, levels)
        for ratio, most in ratios:
            if ratio not in [2**n for n in range(most + 1)]:
                raise ValueError(f"{levels} levels cannot compress by {ratio}: need a power of two up to {2**most}")
        if self.attention_past is not None and self.attention_past < 0:
            raise ValueError(f"attention_past counts latents, got {self.attention_past}")

    @classmethod
    def published(cls, values: Mapping) -> "VAEConfig":
        """From a config.json of the original program or of diffusers. Raises ValueError for a VAE of another kind."""
        kind = values.get("_class_name", "AutoencoderKLCausal3D")
        if kind not in ("AutoencoderKLCausal3D", "AutoencoderKLHunyuanVideo"):
            raise ValueError(f"not HunyuanVideo's VAE: {kind}")
        if values.get("act_fn", "silu") != "silu" or not values.get("mid_block_add_attention", True):
            raise ValueError("only VAEs with SiLU and a middle attention are known")
        known = {field.name for field in fields(cls)}
        given = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items() if name in known}
        if "temporal_compression_ratio" in values:
            given["time_compression_ratio"] = values["temporal_compression_ratio"]
        # Where the key is absent, the original class does not mask, and the one of diffusers always does.
        given.setdefault("mid_block_causal_attn", kind == "AutoencoderKLHunyuanVideo")
        return cls(**given)

    @property
    def factors(self) -> tuple[Factor, ...]:
        """By how much each level shrinks its input, or grows it: in space the first ones, in time the last but one."""
        last, time = len(self.block_out_channels) - 1, int(log2(self.time_compression_ratio))
        space = int(log2(self.spatial_compression_ratio))
        sides = [2 if level < space else 1 for level in range(last + 1)]
        return tuple((2 if last - time <= level < last else 1, side, side) for level, side in enumerate(sides))

    @property
    def encode_tiling(self) -> Tiling:
        pixels, frames = self.sample_size, self.sample_tsize
        side, latents = pixels // self.spatial_compression_ratio, frames // self.time_compression_ratio
        return Tiling(pixels, frames, side, latents, self.tile_overlap_factor)

    @property
    def decode_tiling(self) -> Tiling:
        there = self.encode_tiling
        return Tiling(there.side_out, there.frames_out, there.side, there.frames, there.overlap)


@dataclass(frozen=True)
class Posterior:
    """What the encoder says of a clip's latents: a normal distribution for each number, b c t h w, not scaled."""

    mean: Tensor
    logvar: Tensor

    def mode(self) -> Tensor:
        return self.mean

    def sample(self, generator: torch.Generator) -> Tensor:
        """The generator is the processor's, so that the numbers are the same on every device."""
        noise = torch.randn(self.mean.shape, generator=generator).to(self.mean)
        return self.mean + (0.5 * self.logvar).exp() * noise


class Encoder(nn.Module):
    def __init__(self, c: VAEConfig) -> None:
        super().__init__()
        widths = c.block_out_channels
        self.conv_in = CausalConv(c.in_channels, widths[0])
        self.down_blocks = nn.ModuleList(
            DownBlock(i, o, c.layers_per_block, c.norm_num_groups, factor)
            for (i, o), factor in zip(pairwise((widths[0], *widths)), c.factors, strict=True)
        )
        self.mid_block = MiddleBlock(widths[-1], c.norm_num_groups, c.mid_block_causal_attn, past=None)
        self.conv_norm_out = StreamNorm(widths[-1], c.norm_num_groups)
        self.conv_out = CausalConv(widths[-1], 2 * c.latent_channels)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        x = self.conv_in(x, stream)
        for block in self.down_blocks:
            x = block(x, stream)
        x = self.mid_block(x, stream)
        return self.conv_out(F.silu(self.conv_norm_out(x, stream)), stream)


class Decoder(nn.Module):
    def __init__(self, c: VAEConfig) -> None:
        super().__init__()
        widths = c.block_out_channels[::-1]
        self.conv_in = CausalConv(c.latent_channels, widths[0])
        self.mid_block = MiddleBlock(widths[0], c.norm_num_groups, c.mid_block_causal_attn, c.attention_past)
        self.up_blocks = nn.ModuleList(
            UpBlock(i, o, c.layers_per_block + 1, c.norm_num_groups, factor)
            for (i, o), factor in zip(pairwise((widths[0], *widths)), c.factors, strict=True)
        )
        self.conv_norm_out = StreamNorm(widths[-1], c.norm_num_groups)
        self.conv_out = CausalConv(widths[-1], c.out_channels)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        x = self.mid_block(self.conv_in(x, stream), stream)
        for block in self.up_blocks:
            x = block(x, stream)
        return self.conv_out(F.silu(self.conv_norm_out(x, stream)), stream)


class VAE(nn.Module):
    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = c = config
        self.encoder = Encoder(c)
        self.decoder = Decoder(c)
        self.quant_conv = nn.Conv3d(2 * c.latent_channels, 2 * c.latent_channels, 1)
        self.post_quant_conv = nn.Conv3d(c.latent_channels, c.latent_channels, 1)

    def encode(self, pictures: Tensor) -> Posterior:
        """Pictures b 3 f H W in one piece. Raises ValueError for sizes that do not come out even."""
        self._check(pictures)
        return _posterior(self._moments(pictures))

    def tiled_encode(self, pictures: Tensor) -> Posterior:
        """As `encode`, in tiles of the configured size, as the released program does it: other numbers, for the norms and
        the middle attention see a tile only. In the memory of one tile."""
        self._check(pictures)
        return _posterior(tiled(self._moments, pictures, self.config.encode_tiling))

    def decode(self, latents: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """The next latents of a stream, not scaled -> their pictures, and the memory for the next call.

        t latents are 4t pictures, or 4t-3 if nothing came before them. Without a memory the norms take their statistics
        from all of these latents, and the stream keeps them. So a whole clip is decoded as the original does in one piece,
        and a live stream should start with statistics of a clip like what is to come, its character's reference say:
        `decode(reference)[1].restarted()`. With given statistics the cut into chunks changes nothing, and no later latent
        changes an earlier picture. Raises ValueError if the weights' middle attention looks ahead: such cannot be cut."""
        if memory is not None and memory.begun and not self.config.mid_block_causal_attn:
            raise ValueError("mid_block_causal_attn is off: a latent's pictures would depend on latents still to come")
        stream = Stream(memory)
        pictures = self.decoder(self.post_quant_conv(latents), stream)
        return pictures, stream.remembered()

    def tiled_decode(self, latents: Tensor) -> Tensor:
        """A whole clip b c t h w -> b 3 4t-3 H W, in tiles as the released program decodes; see `tiled_encode`."""
        return tiled(lambda tile: self.decode(tile)[0], latents, self.config.decode_tiling)

    def tiled_pictures(self, latents: Tensor, group: Group = ALONE) -> Iterator[Tensor]:
        """What `tiled_decode` gives, in pieces of its frames, in the memory of two; made by all ranks of a group together,
        each of which gets all."""
        yield from tiled_in_time(lambda tile: self.decode(tile)[0], latents, self.config.decode_tiling, group)

    def scaled(self, latents: Tensor) -> Tensor:
        """Latents as the transformer has them."""
        return (latents - (self.config.shift_factor or 0)) * self.config.scaling_factor

    def unscaled(self, latents: Tensor) -> Tensor:
        """Latents of the transformer as this module has them."""
        return latents / self.config.scaling_factor + (self.config.shift_factor or 0)

    def _moments(self, pictures: Tensor) -> Tensor:
        return self.quant_conv(self.encoder(pictures, Stream()))

    def _check(self, pictures: Tensor) -> None:
        frames, height, width = pictures.shape[2:]
        time, space = self.config.time_compression_ratio, self.config.spatial_compression_ratio
        if (frames - 1) % time or height % space or width % space:
            raise ValueError(
                f"needs one picture and then groups of {time}, sides that {space} divides; got {frames} of {width}x{height}"
            )


def _posterior(moments: Tensor) -> Posterior:
    mean, logvar = moments.chunk(2, 1)
    return Posterior(mean, logvar.clamp(-30, 20))
