"""What a causal stream of one session takes, chunk by chunk, as `Generator` makes it: cached keys and values, few steps."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import nn

from model.carried import Still
from model.planning import footprint
from model.planning.budget import VALUE_BYTES, Budget, Figure, Sections, unpacked_bytes
from model.planning.footprint import empty, operations, parameters, peak_bytes, weightless
from model.planning.work import (
    Shape,
    Work,
    audio_projection,
    kept_per_token,
    sent_at_the_end,
    sent_per_attention,
    stream_pass,
)  # fmt: skip
from model.planning.work_vae import VAESizes, decode_operations, decode_peak
from model.tiny_vae import TinyVAE


@dataclass(frozen=True)
class Stream(Budget):
    steps: int

    @property
    def sink(self) -> int:
        return self.frame_tokens + self.subject.text_tokens

    @property
    def shape(self) -> Shape:
        """Of a pass over a chunk, one for each step."""
        return Shape(self.subject.live.chunk, self.frame_tokens, self.subject.text_tokens, ranks=self.machine.gpus)

    def one_pass(self, ranks: int) -> Work:
        past = self.sink + self.subject.live.past * self.frame_tokens
        return stream_pass(self.subject.dit, replace(self.shape, ranks=ranks), past)

    def work(self, ranks: int) -> Work:
        """Of a chunk, whose sound is made into tokens once."""
        return self.one_pass(ranks) * self.steps + Work(adapters=audio_projection(self.subject.dit, self.frames))

    @property
    def tokens_in_sight(self) -> int:
        return self.sink + (self.subject.live.past + self.subject.live.chunk) * self.frame_tokens

    @property
    def frames(self) -> int:
        return self.subject.live.chunk * self.subject.dit.frames_per_latent

    @cached_property
    def sound_work(self) -> int:
        config = self.sound_encoder.config
        mel = empty(1, config.num_mel_bins, 2 * config.max_source_positions)
        return operations(lambda: self.sound_encoder(mel))

    @cached_property
    def decoder(self) -> nn.Module:
        return weightless(lambda: TinyVAE(self.subject.stream_decoder))

    @cached_property
    def decode(self) -> tuple[int, int]:
        """Operations and bytes of a chunk's decode, which starts from what the chunk before it left."""
        channels, chunk = self.subject.stream_decoder.latent_channels, self.subject.live.chunk
        latents = empty(1, chunk, channels, *self.grid)
        still = Still(latents[:, 0], empty(1, 3, self.height, self.width))
        with torch.inference_mode():
            _, memory = self.decoder.decode(latents, still=still)

        def again() -> object:
            return self.decoder.decode(latents, memory, still)

        return operations(again), peak_bytes(again)

    # --- memory

    @cached_property
    def session_bytes(self) -> int:
        return footprint.cache_bytes(footprint.empty_cache(self.subject.dit, self.shape, self.subject.live.past))

    @cached_property
    def settling_bytes(self) -> int:
        return footprint.settling_bytes(self.subject.dit, self.shape, self.subject.live.past)

    @cached_property
    def pass_bytes(self) -> int:
        return footprint.stream_pass_bytes(self.subject.dit, self.shape, self.grid, self.subject.live.past)

    def most_bytes(self, mode: str) -> int:
        working = max(self.pass_bytes + unpacked_bytes(self.dit, mode), self.settling_bytes, self.decode[1])
        return self.resident_bytes(mode) + VALUE_BYTES * parameters(self.decoder) + 2 * self.session_bytes + working

    # --- what is said

    @property
    def sections(self) -> Sections:
        vae = {"a chunk live, decoded by the VAE": self._vae()} if self.subject.offline else {}
        return {
            "a chunk live": self._sizes(),
            "a chunk live: memory of each GPU": self._memory(),
            "a chunk live: operations": self._work(),
            "a chunk live: sent by each GPU, and time": self._time(),
            **vae,
        }

    def _sizes(self) -> list[Figure]:
        live = self.subject.live
        return [
            Figure("frames", self.frames),
            Figure("duration", self.frames / self.subject.fps, "s"),
            Figure("denoising steps (--steps)", self.steps),
            Figure("latent frames of the past, and of the chunk", f"{live.past} + {live.chunk}"),
            Figure("tokens in sight: reference, text, past, chunk", self.tokens_in_sight),
        ]

    def _memory(self) -> list[Figure]:
        return [
            Figure("keys and values of a session", self.session_bytes, "B"),
            Figure("the same of a character at rest", self.session_bytes, "B"),
            Figure("turning the past keys", self.settling_bytes, "B"),
            Figure("activations of a pass", self.pass_bytes, "B"),
            Figure("decode", self.decode[1], "B"),
            *self.verdict,
            Figure("a token's keys and values, all GPUs", kept_per_token(self.subject.dit, VALUE_BYTES), "B"),
        ]

    def _work(self) -> list[Figure]:
        once = self.one_pass(1)
        return [
            Figure("a pass over the chunk", once.total, "operations"),
            Figure("such a pass for each chunk in real time", once.total * self.subject.fps / self.frames, "operations/s"),
            Figure("the chunk, all steps", self.work(1).total, "operations"),
            Figure("the chunk, the part of each GPU", self.work(self.machine.gpus).total, "operations"),
            Figure("decode, on every GPU", self.decode[0], "operations"),
            Figure("sound encoder, on every GPU", self.sound_work, "operations"),
        ]

    @cached_property
    def sent(self) -> int:
        """For a chunk."""
        c = self.subject.dit
        return self.steps * (c.layers * self.sent_for_a_block + sent_at_the_end(c, self.shape, VALUE_BYTES))

    @property
    def sent_for_a_block(self) -> int:
        return sent_per_attention(self.subject.dit, self.shape, self.shape.frames, 0, VALUE_BYTES)

    def chunk_s(self, decode_work: int) -> float:
        denoise = self.machine.seconds(self.work(self.machine.gpus).total, self.sent, self.steps * self.fetched)
        return denoise + self.machine.seconds(decode_work + self.sound_work)

    def _time(self) -> list[Figure]:
        chunk = self.chunk_s(self.decode[0])
        return [
            Figure("sent for a block", self.sent_for_a_block, "B"),
            Figure("sent for the chunk", self.sent, "B"),
            Figure("the chunk", chunk, "s"),
            Figure("frame rate", self.frames / chunk, "frames/s"),
            Figure(f"times real time, which is {self.subject.fps} frames/s", self.frames / chunk / self.subject.fps, "x"),
        ]

    def _vae(self) -> list[Figure]:
        vae, latents = VAESizes(), (self.subject.live.chunk, *self.grid)
        chunk = self.chunk_s(decode_operations(vae, latents))
        return [
            Figure("memory of the decode, in one piece", decode_peak(vae, latents, VALUE_BYTES), "B"),
            Figure("operations of the decode, on every GPU", decode_operations(vae, latents), "operations"),
            Figure("frame rate", self.frames / chunk, "frames/s"),
        ]
