"""What decoding with the released 3-D VAE computes and holds, from its sizes alone. Pure arithmetic, like work.py."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product as combinations
from math import prod

from model.planning.work import product

Grid = tuple[int, int, int]  # time, rows, columns


@dataclass(frozen=True)
class VAESizes:
    """The released VAE (`884-16c-hy0801`), as far as decoding needs it. Levels run from latents to pictures."""

    latent_channels: int = 16
    channels: tuple[int, ...] = (512, 512, 256, 128)
    grows: tuple[Grid, ...] = ((1, 2, 2), (2, 2, 2), (2, 2, 2))  # behind each level but the last
    resnets: int = 3
    tile: Grid = (17, 32, 32)  # latents; of the 17 the first is there for the others' sake, and dropped
    step: Grid = (12, 24, 24)


@dataclass(frozen=True)
class Convolution:
    i: int
    o: int
    kernel: int  # taps of it
    at: Grid  # where its results are
    beside: int = 0  # channels that wait to be added to what comes out

    @property
    def parameters(self) -> int:
        return self.i * self.o * self.kernel + self.o

    @property
    def operations(self) -> int:
        return product(prod(self.at), self.i * self.kernel, self.o)

    @property
    def alive(self) -> int:
        """Values that exist while it runs: what goes in, the same padded, what comes out, what waits."""
        return prod(self.at) * (2 * self.i + self.o + self.beside)


def decoder_convolutions(v: VAESizes, latents: Grid) -> Iterator[Convolution]:
    """Every convolution on the way from latents to pictures, and the four products of the middle attention.

    The first frame never grows in time, so t latents become 4t - 3 frames."""
    at, width = latents, v.channels[0]
    yield Convolution(v.latent_channels, width, 27, at)
    for _ in range(4):
        yield Convolution(width, width, 27, at, beside=width)  # two resnets
        yield Convolution(width, width, 1, at)  # queries, keys, values, projection
    for level, (i, o) in enumerate(zip((width, *v.channels), v.channels, strict=False)):
        if i != o:
            yield Convolution(i, o, 1, at)  # past the first resnet
        for inner in range(2 * v.resnets):
            yield Convolution(o if inner else i, o, 27, at, beside=i if inner < 2 else o)
        if level < len(v.grows):
            at = grown(at, v.grows[level])
            yield Convolution(o, o, 27, at)
    yield Convolution(v.channels[-1], 3, 27, at)


def grown(at: Grid, times: Grid) -> Grid:
    t, h, w = (a * b for a, b in zip(at, times, strict=True))
    return t - (times[0] - 1), h, w


def decode_operations(v: VAESizes, latents: Grid) -> int:
    """Of a clip in one piece. The middle attention, over all places of the latents at once, is in it."""
    convolutions = sum(c.operations for c in decoder_convolutions(v, latents))
    return convolutions + 2 * product(prod(latents), prod(latents), v.channels[0])


def decode_peak(v: VAESizes, latents: Grid, value_bytes: int) -> int:
    """Bytes alive around the widest convolution; a kernel's own workspace is not in it."""
    return max(c.alive for c in decoder_convolutions(v, latents)) * value_bytes


def tiles(v: VAESizes, latents: Grid) -> list[Grid]:
    """What is decoded one after another where tiling is on, as released: tiles overlap, the last of a row is smaller."""
    along = (
        [min(tile, size - start) for start in range(0, size, step)]
        for tile, step, size in zip(v.tile, v.step, latents, strict=True)
    )
    return list(combinations(*along))
