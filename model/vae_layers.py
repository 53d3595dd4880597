"""The layers of the causal 3-D VAE, and what they remember of a stream. Layout of every tensor: b c t h w.

A layer looks at present and past frames only, and what it needs of the past is handed to it by a `Stream`, which also
gathers what the next call will need. A whole clip is one long call with nothing before it. Parameter names and numbers
are HunyuanVideo's. Knows neither the order of the layers nor their sizes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from model.attention import attend

NORM_EPS = 1e-6

Statistics = tuple[Tensor, Tensor]  # mean and variance of every group of channels, b g each, float32


@dataclass(frozen=True)
class Memory:
    """What a stream of latents carries from call to call, in the order in which the layers run.

    Whether a stream has begun is the first-frame flag of all temporal upsampling layers: it is the same in each. The
    statistics of the group norms are those of the first call for ever. They are meant to be taken over all frames, which
    no stream knows. Taken anew from every chunk, brightness and contrast would jump where chunks meet; frozen, a chunk is
    decoded alike at any age, and what they were taken from decides how near they are to the whole clip's.

    It does not grow once the bound of the attention is reached. Of the released decoder, in half precision, it is 0.6 GB at
    256x256 pixels and 4.5 GB at 704x704, nearly all of it frames of the last levels."""

    statistics: tuple[Statistics, ...]
    frames: tuple[Tensor, ...] = ()  # the last input frames of every causal convolution: two, for a kernel of three
    attended: tuple[tuple[Tensor, Tensor], ...] = ()  # keys and values of the latents before, b l 1 c each

    @property
    def begun(self) -> bool:
        return bool(self.frames)

    def restarted(self) -> "Memory":
        """Another stream with the same statistics: nothing came before it."""
        return Memory(self.statistics)


class Stream:
    """One call's way through a network. Layers run in the same order in every call, so a layer's turn is its name."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory
        self.statistics: list[Statistics] = []
        self.frames: list[Tensor] = []
        self.attended: list[tuple[Tensor, Tensor]] = []

    @property
    def begun(self) -> bool:
        return self.memory is not None and self.memory.begun

    def level(self, groups: Tensor) -> Statistics:
        """Mean and variance of b g n: of a stream that has some, those, else of what is given."""
        if self.memory is None:
            variance, mean = torch.var_mean(groups.float(), 2, correction=0)
            self.statistics.append((mean, variance))
        else:
            self.statistics.append(self.memory.statistics[len(self.statistics)])
        return self.statistics[-1]

    def behind(self, x: Tensor, count: int) -> Tensor:
        """x with the `count` frames before it in front. Before the first frame there are copies of it."""
        first = x[:, :, :1].expand(-1, -1, count, -1, -1)
        past = self.memory.frames[len(self.frames)] if self.begun else first
        x = torch.cat((past, x), 2)
        self.frames.append(x[:, :, -count:].clone())  # a view would keep the whole chunk alive
        return x

    def among_past(self, keys: Tensor, values: Tensor, kept: int | None) -> tuple[Tensor, Tensor]:
        """Keys and values b l 1 c with the past ones in front. The last `kept` of them are remembered; None: all."""
        if self.begun:
            past_keys, past_values = self.memory.attended[len(self.attended)]
            keys, values = torch.cat((past_keys, keys), 1), torch.cat((past_values, values), 1)
        first = 0 if kept is None else max(0, keys.shape[1] - kept)
        self.attended.append((keys[:, first:].clone(), values[:, first:].clone()))
        return keys, values

    def remembered(self) -> Memory:
        return Memory(tuple(self.statistics), tuple(self.frames), tuple(self.attended))


class CausalConv(nn.Module):
    """Sees itself and the past in time, all around in space. Edges are repeated."""

    def __init__(self, i: int, o: int, kernel: int = 3, stride: tuple[int, int, int] = (1, 1, 1)) -> None:
        super().__init__()
        self.reach = kernel - 1
        self.conv = nn.Conv3d(i, o, kernel, stride)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        if self.reach:
            side = self.reach // 2
            x = F.pad(stream.behind(x, self.reach), (side, side, side, side, 0, 0), mode="replicate")
        return self.conv(x)


class StreamNorm(nn.Module):
    """A group norm whose statistics may come from elsewhere."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        batch, width = x.shape[:2]
        level = stream.level(rearrange(x, "b (g c) t h w -> b g (c t h w)", g=self.groups))
        mean, variance = (part.repeat_interleave(width // self.groups, 1).flatten() for part in level)
        weight, bias = (part.float().repeat(batch) for part in (self.weight, self.bias))
        # With given statistics every channel has its own factor and offset: what a batch norm in use computes, in float32
        # whatever x is.
        out = F.batch_norm(rearrange(x, "b c t h w -> 1 (b c) t h w"), mean, variance, weight, bias, eps=NORM_EPS)
        return out.view(x.shape)


class ResNet(nn.Module):
    def __init__(self, i: int, o: int, groups: int) -> None:
        super().__init__()
        self.norm1 = StreamNorm(i, groups)
        self.conv1 = CausalConv(i, o)
        self.norm2 = StreamNorm(o, groups)
        self.conv2 = CausalConv(o, o)
        self.conv_shortcut = CausalConv(i, o, kernel=1) if i != o else None

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x, stream)), stream)
        hidden = self.conv2(F.silu(self.norm2(hidden, stream)), stream)
        return hidden + (x if self.conv_shortcut is None else self.conv_shortcut(x, stream))


class MiddleAttention(nn.Module):
    """One head over all places of a frame and of the frames before it; of all frames, where the weights are not causal.

    `past` bounds how many frames before its own a frame sees; None: all."""

    def __init__(self, width: int, groups: int, causal: bool, past: int | None) -> None:
        super().__init__()
        self.causal, self.past = causal, past
        self.group_norm = StreamNorm(width, groups)
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        places = x.shape[3] * x.shape[4]
        tokens = rearrange(self.group_norm(x, stream), "b c t h w -> b (t h w) 1 c")
        kept = None if self.past is None else self.past * places
        queries = self.to_q(tokens)
        keys, values = stream.among_past(self.to_k(tokens), self.to_v(tokens), kept)
        if not self.causal:
            attended = attend(queries, keys, values)
        else:
            # Frame by frame, so that no mask is needed: it would have as many entries as there are pairs of places.
            out, end = [], keys.shape[1] - queries.shape[1]
            for query in queries.split(places, 1):
                first = 0 if kept is None else max(0, end - kept)
                end += places
                out.append(attend(query, keys[:, first:end], values[:, first:end]))
            attended = torch.cat(out, 1)
        return x + rearrange(self.to_out[0](attended), "b (t h w) 1 c -> b c t h w", h=x.shape[3], w=x.shape[4])


class MiddleBlock(nn.Module):
    def __init__(self, width: int, groups: int, causal: bool, past: int | None) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResNet(width, width, groups) for _ in range(2))
        self.attentions = nn.ModuleList([MiddleAttention(width, groups, causal, past)])

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        x = self.attentions[0](self.resnets[0](x, stream), stream)
        return self.resnets[1](x, stream)


class Downsample(nn.Module):
    def __init__(self, width: int, factor: tuple[int, int, int]) -> None:
        super().__init__()
        self.conv = CausalConv(width, width, stride=factor)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        return self.conv(x, stream)


class Upsample(nn.Module):
    """Repeats every frame and place. A stream's first frame stays one frame."""

    def __init__(self, width: int, factor: tuple[int, int, int]) -> None:
        super().__init__()
        self.factor = factor
        self.conv = CausalConv(width, width)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        time, rows, columns = self.factor
        x = x.repeat_interleave(time, 2)
        if not stream.begun:
            x = x[:, :, time - 1 :]
        return self.conv(F.interpolate(x, scale_factor=(1, rows, columns)), stream)


class DownBlock(nn.Module):
    def __init__(self, i: int, o: int, layers: int, groups: int, factor: tuple[int, int, int]) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResNet(o if layer else i, o, groups) for layer in range(layers))
        self.downsamplers = nn.ModuleList([Downsample(o, factor)] if max(factor) > 1 else [])

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        for layer in (*self.resnets, *self.downsamplers):
            x = layer(x, stream)
        return x


class UpBlock(nn.Module):
    def __init__(self, i: int, o: int, layers: int, groups: int, factor: tuple[int, int, int]) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResNet(o if layer else i, o, groups) for layer in range(layers))
        self.upsamplers = nn.ModuleList([Upsample(o, factor)] if max(factor) > 1 else [])

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        for layer in (*self.resnets, *self.upsamplers):
            x = layer(x, stream)
        return x
