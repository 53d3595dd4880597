"""What it takes to make a clip offline, as the released program does.

That is two rows for guidance, windows over the clip, steps from cached tokens, and the VAE in tiles.
"""

from dataclasses import dataclass, replace
from functools import cached_property

from model.offline import latent_frames, plan, windows
from model.offline_audio import TAIL_FRAMES, WINDOW_FRAMES
from model.planning.budget import VAE_PARAMETERS, VALUE_BYTES, Budget, Figure, Sections, unpacked_bytes
from model.planning.footprint import whole_pass_bytes
from model.planning.work import Shape, Work, cached_pass, sent_at_the_end, sent_per_attention, whole_pass
from model.planning.work_vae import VAESizes, decode_operations, decode_peak, tiles


@dataclass(frozen=True)
class Clip(Budget):
    frames: int  # video frames

    vae = VAESizes()

    @cached_property
    def latents(self) -> tuple[int, int]:
        """How many latent frames are denoised, and how many of them decoded: sound is padded before it is counted."""
        heard = WINDOW_FRAMES if self.frames <= WINDOW_FRAMES else self.frames + TAIL_FRAMES
        return latent_frames(heard, self.subject.offline)

    @cached_property
    def windows(self) -> int:
        """Of each step."""
        return len(windows(self.latents[0], 0, self.subject.offline))

    @cached_property
    def passes(self) -> tuple[int, int]:
        """Full and cached ones of a window."""
        cached = sum(step.cached for step in plan(self.subject.offline))
        return self.subject.offline.steps - cached, cached

    @property
    def shape(self) -> Shape:
        text, gpus = self.subject.text_tokens, self.machine.gpus
        return Shape(self.subject.offline.window, self.frame_tokens, text, rows=2, ranks=gpus)

    def work(self, shape: Shape) -> Work:
        """Of a window in all its steps."""
        full, cached = self.passes
        return whole_pass(self.subject.dit, shape) * full + cached_pass(self.subject.dit, shape) * cached

    @cached_property
    def decode_work(self) -> int:
        return sum(decode_operations(self.vae, tile) for tile in tiles(self.vae, self.decoded))

    @property
    def decoded(self) -> tuple[int, int, int]:
        return self.latents[1], *self.grid

    # --- memory

    @cached_property
    def pass_bytes(self) -> int:
        return whole_pass_bytes(self.subject.dit, self.shape, self.grid)

    @property
    def kept_bytes(self) -> int:
        """Tokens that the cached steps start from."""
        shape = self.shape
        tokens = (shape.frames + 1) * shape.own + shape.text
        return self.windows * shape.rows * tokens * self.subject.dit.hidden_size * VALUE_BYTES if self.passes[1] else 0

    @property
    def pictures_bytes(self) -> int:
        return 3 * self.frames * self.width * self.height * VALUE_BYTES

    @property
    def tiled_bytes(self) -> int:
        """A tile, and the clip twice: its tiles, and what they are joined to."""
        largest = max(decode_peak(self.vae, tile, VALUE_BYTES) for tile in tiles(self.vae, self.decoded))
        return largest + 2 * self.pictures_bytes

    def most_bytes(self, mode: str) -> int:
        working = self.pass_bytes + self.kept_bytes + unpacked_bytes(self.dit, mode)
        return self.resident_bytes(mode) + VALUE_BYTES * VAE_PARAMETERS + max(working, self.tiled_bytes)

    # --- what is said

    @property
    def sections(self) -> Sections:
        return {
            "a clip offline": self._sizes(),
            "a clip offline: memory of each GPU": self._memory(),
            "a clip offline: operations": self._work(),
            "a clip offline: sent by each GPU, and time": self._time(),
        }

    def _sizes(self) -> list[Figure]:
        (computed, kept), (full, cached) = self.latents, self.passes
        return [
            Figure("frames (--frames)", self.frames),
            Figure("latent frames computed", computed),
            Figure("latent frames decoded", kept),
            Figure("windows", self.windows),
            Figure("tokens of a window, each of two rows", self.shape.sequence),
            Figure("steps in full", full),
            Figure("steps from cached tokens, last block only", cached),
        ]

    def _memory(self) -> list[Figure]:
        untiled = decode_peak(self.vae, self.decoded, VALUE_BYTES) + self.pictures_bytes
        return [
            Figure("activations of a pass", self.pass_bytes, "B"),
            Figure("tokens kept for cached steps", self.kept_bytes, "B"),
            Figure("VAE decode in tiles", self.tiled_bytes, "B"),
            Figure("VAE decode in one piece", untiled, "B"),
            *self.verdict,
        ]

    def _work(self) -> list[Figure]:
        one = whole_pass(self.subject.dit, replace(self.shape, rows=1, ranks=1))
        return [
            Figure("a forward pass of one row", one.total, "operations"),
            Figure("of that, attention", 100 * one.attention / one.total, "%"),
            Figure("a window, all steps, both rows", self.work(replace(self.shape, ranks=1)).total, "operations"),
            Figure("a window, the part of each GPU", self.work(self.shape).total, "operations"),
            Figure("the clip, the part of each GPU", self.windows * self.work(self.shape).total, "operations"),
            Figure("VAE decode, on every GPU", self.decode_work, "operations"),
        ]

    def _time(self) -> list[Figure]:
        c, shape, (full, cached) = self.subject.dit, self.shape, self.passes
        block = sent_per_attention(c, shape, shape.frames + 1, shape.text, VALUE_BYTES)
        end = sent_at_the_end(c, shape, VALUE_BYTES)
        in_full, in_cached = c.layers * block + end, block + end
        one = self.machine.seconds(whole_pass(c, shape).total, in_full, self.fetched)
        # Of the blocks a cached step needs one, which is fetched like any other.
        short = self.machine.seconds(cached_pass(c, shape).total, in_cached, self.fetched / c.layers)
        decode = self.machine.seconds(self.decode_work)
        clip = self.windows * (full * one + cached * short) + decode
        return [
            Figure("sent for a block", block, "B"),
            Figure("sent for a window", full * in_full + cached * in_cached, "B"),
            Figure("sent for the clip", self.windows * (full * in_full + cached * in_cached), "B"),
            Figure("a full step of a window", one, "s"),
            Figure("VAE decode", decode, "s"),
            Figure("the clip", clip, "s"),
            Figure("frame rate", self.frames / clip, "frames/s"),
        ]
