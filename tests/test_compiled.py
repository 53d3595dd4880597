"""What is recorded and replayed, compiled or packed computes what the plain network computes."""

import numpy as np
import pytest
import torch

from model.attention import CachedStream
from model.blocks import MLP
from model.cache import KVCache
from model.compiled import Replayed, by_hand, compiled, replayed
from model.dit import DiT
from model.packed import PackedLinear, can_pack, pack, types
from tests.test_causal_stream import COLUMNS, CONFIG, ROWS, dit, frame_of, scene  # noqa: F401  (fixtures)
from tests.tiny import TINY, tiny_generator

TOKENS = ROWS * COLUMNS


class Session:
    """A stream that hears and carries each new frame into its cache."""

    def __init__(self, dit: DiT, scene, noise: int) -> None:  # noqa: F811
        self.dit, (self.x, self.on) = dit, scene
        self.x = self.x + torch.randn(self.x.shape, generator=torch.Generator().manual_seed(noise))
        self.cache = KVCache.empty(
            CONFIG.layers, 1, TOKENS + 1, TOKENS, CONFIG.causal_window, CONFIG.num_heads, CONFIG.head_width
        )
        dit.prefill(self.on, self.cache)

    def step(self, stream, frame: int) -> torch.Tensor:
        window, at = CONFIG.causal_window, slice(frame, frame + 1)
        self.cache.roll()
        self.cache.settle(*self.dit.rope(torch.arange(window), ROWS, COLUMNS, self.x.device))
        rope = self.dit.rope(torch.tensor([window - 1]), ROWS, COLUMNS, self.x.device)
        sound = self.dit.audio_tokens(self.on.audio_prompts)
        mask = self.dit.token_mask(self.on.face_mask, self.x[:, :, :1])
        return stream(
            self.x[:, :, at], frame_of(self.on, frame), sound[:, :, at], mask, CachedStream(self.cache, *rope, remember=1)
        )


@torch.inference_mode()
def test_replaying_equals_running_also_with_sessions_by_turns(dit, scene):  # noqa: F811
    plain = [Session(dit, scene, noise) for noise in (1, 2)]
    again = [Session(dit, scene, noise) for noise in (1, 2)]
    stream = Replayed(dit.stream, by_hand)
    made = []
    for frame in range(3):
        for one, other in zip(plain, again, strict=True):
            made.append((one.step(dit.stream, frame), other.step(stream, frame)))
    # Compared at the end: what was returned must not change when the next chunk is made.
    assert all(torch.equal(expected, found) for expected, found in made)
    for one, other in zip(plain, again, strict=True):
        assert torch.equal(one.cache.keys, other.cache.keys)
        assert torch.equal(one.cache.context_values, other.cache.context_values)
    assert len(stream.recordings) == 1


@torch.inference_mode()
def test_each_shape_is_recorded_once():
    calls = []

    def double(x: torch.Tensor, by: int) -> torch.Tensor:
        calls.append(x.data_ptr())
        return by * x

    twice = Replayed(double, by_hand)
    for length in (2, 3, 2, 3):
        for by in (2, 3):
            assert twice(torch.ones(length), by).tolist() == [by] * length
    assert len(twice.recordings) == 4
    assert len(set(calls)) == 4, "a graph finds its arguments where they were when it was recorded"


def test_a_network_on_a_processor_is_not_replayed(dit):  # noqa: F811
    replayed(dit, "stream")
    assert not isinstance(dit.stream, Replayed)


@torch.inference_mode()
def test_the_stream_compiles_in_one_piece(dit, scene):  # noqa: F811
    plain, fused = Session(dit, scene, 1), Session(dit, scene, 1)
    expected = [plain.step(dit.stream, frame) for frame in range(2)]
    compiled(dit, "stream", backend="eager")  # the network is traced, but needs no compiler of C++
    found = [fused.step(dit.stream, frame) for frame in range(2)]
    assert torch.allclose(torch.cat(found), torch.cat(expected), atol=1e-4)
    assert torch.allclose(fused.cache.context_keys, plain.cache.context_keys, atol=1e-4)


# Packed weights ------------------------------------------------------------------------------------------------------

needs_packing = pytest.mark.skipif(not can_pack(), reason="this PyTorch has no oneDNN")


@needs_packing
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
@torch.inference_mode()
def test_packed_layers_compute_the_same_at_every_length(dtype, limit):
    torch.manual_seed(4)
    plain = MLP(96, 384).to(dtype)
    packed = MLP(96, 384).to(dtype)
    packed.load_state_dict(plain.state_dict())
    pack(packed)
    can = dtype in types()  # a processor without bfloat16 products keeps such layers as they are
    assert isinstance(packed.fc1, PackedLinear) == isinstance(packed.fc2, PackedLinear) == can
    for shape in ((1, 96), (2, 7, 96), (1, 3, 64, 96)):
        x = torch.randn(shape, dtype=dtype)
        expected, found = plain(x).float(), packed(x).float()
        assert found.shape == expected.shape
        assert (found - expected).norm() <= limit * expected.norm()


@needs_packing
def test_a_packed_generator_makes_the_same_pictures():
    plain, packed = tiny_generator(), tiny_generator()
    for part in (packed.dit, packed.vae, packed.audio):
        pack(part)
    sound = 0.1 * np.random.default_rng(5).standard_normal((1, TINY.audio.window_samples)).astype(np.float32)
    pictures = []
    for generator in (plain, packed):
        frames, _ = generator.step([generator.open("ada", 7)], [sound])
        pictures.append(frames.astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() <= 1
    assert packed.dtype == plain.dtype and packed.device == plain.device


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_that_cannot_be_packed_stay(dtype, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    layer = torch.nn.Sequential(torch.nn.Linear(4, 4, dtype=dtype), torch.nn.LayerNorm(4))
    pack(layer)
    assert type(layer[0]) is torch.nn.Linear
