"""What training shows the network of itself: films that go on from a beginning, and know nothing of what is to come."""

from dataclasses import replace

import pytest
import torch

from model.dit import DiT
from model.emotion import Feelings
from model.train.rollout import roll_out
from tests.test_causal_stream import CONFIG, FRAMES, scene  # noqa: F401  (a fixture)
from tests.test_emotion import FELT

WINDOW = 1
KNOWN = WINDOW + 1


@pytest.fixture
def dit():
    torch.manual_seed(6)
    dit = DiT(replace(FELT, causal_window=WINDOW)).eval()
    for weight in dit.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return dit


def rolled(dit, x, on):
    torch.manual_seed(7)
    strength = torch.tensor([0.0, 1.0, 1.0, 1.0])
    felt = Feelings(torch.randn_like(on.ref_latents)[:, None, None, :, 0], strength[None, None, None])
    return roll_out(dit, x.transpose(1, 2), replace(on, feelings=felt)).transpose(1, 2)


def test_a_film_begins_with_what_is_given_and_goes_on_alone(dit, scene):  # noqa: F811
    x, on = scene
    made = rolled(dit, x, on)
    assert made.shape == x.shape
    assert torch.allclose(made[:, :, :KNOWN], x[:, :, :KNOWN], atol=0.02)  # but for bfloat16
    other = torch.cat((x[:, :, :KNOWN], torch.randn_like(x[:, :, KNOWN:])), 2)
    assert torch.equal(rolled(dit, other, on), made)


def test_a_film_stands_on_its_own_past(dit, scene):  # noqa: F811
    x, on = scene
    other = torch.cat((torch.randn_like(x[:, :, :KNOWN]), x[:, :, KNOWN:]), 2)
    changed = (rolled(dit, other, on) - rolled(dit, x, on)).abs().amax((0, 1, 3, 4))
    assert (changed[KNOWN:] > 1e-3).all()  # the last frame only through the ones made before it


@pytest.mark.parametrize("frame", range(KNOWN, FRAMES))
def test_sound_moves_its_own_frame_and_none_before(dit, scene, frame):  # noqa: F811
    x, on = scene
    prompts = on.audio_prompts.clone()
    later = slice(frame * CONFIG.frames_per_latent, None)
    prompts[:, later] = torch.randn_like(prompts[:, later])
    changed = (rolled(dit, x, replace(on, audio_prompts=prompts)) - rolled(dit, x, on)).abs().amax((0, 1, 3, 4))
    assert not changed[:frame].any()
    assert changed[frame] > 1e-3
