"""Several faces and their emotions in one forward pass: who hears what, who feels what, and what costs nothing."""

from dataclasses import replace

import pytest
import torch

from model.dit import DiT, DiTConfig
from model.emotion import Feelings
from tests.test_causal_stream import CONFIG, scene  # noqa: F401  (a fixture)

FELT: DiTConfig = replace(CONFIG, emotion_width=8)


@pytest.fixture(scope="module")
def dit():
    torch.manual_seed(5)
    dit = DiT(FELT).eval()
    for weight in dit.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return dit


@torch.inference_mode()
def prediction(dit, x, on):
    return dit(x, on)[0]


def two_faces(on):
    """The scene with a second person: another sound, and the picture divided between the two."""
    left = on.face_mask.clone()
    left[..., left.shape[-1] // 2 :] = 0
    sounds = torch.stack((on.audio_prompts, torch.randn_like(on.audio_prompts)), 1)
    return replace(on, audio_prompts=sounds, face_mask=torch.cat((left, on.face_mask - left), 1))


def feelings(on, strength, faces=1):
    latents = torch.randn(1, faces, 1, *on.ref_latents.shape[1:2], *on.ref_latents.shape[3:])
    return Feelings(latents, torch.tensor(strength).reshape(1, faces, 1, 1))


def test_one_face_may_be_given_without_its_axis(dit, scene):  # noqa: F811
    x, on = scene
    with_axis = replace(on, audio_prompts=on.audio_prompts[:, None])
    assert torch.equal(prediction(dit, x, on), prediction(dit, x, with_axis))


def test_two_faces_with_one_sound_are_one_face_with_the_whole_mask(dit, scene):  # noqa: F811
    x, on = scene
    both = two_faces(on)
    both = replace(both, audio_prompts=on.audio_prompts[:, None].expand(-1, 2, -1, -1, -1, -1))
    assert torch.allclose(prediction(dit, x, on), prediction(dit, x, both), rtol=1e-4, atol=1e-4)


def test_a_face_hears_its_own_sound_and_nobody_elses(dit, scene):  # noqa: F811
    """Right after a block; attention then tells everybody what everybody did."""
    x, on = scene
    on = two_faces(on)
    other = on.audio_prompts.clone()
    other[:, 1] = torch.randn_like(other[:, 1])
    moved = []
    with torch.inference_mode():
        mask = dit.token_mask(on.face_mask, x)
        image = torch.randn(1, x.shape[2] + 1, mask.shape[3], FELT.hidden_size)
        for sound in (on.audio_prompts, other):
            moved.append(dit.move_faces(1, image, dit.faces(dit.audio_tokens(sound), mask, None)))
    changed = (moved[0] != moved[1]).any(-1)[:, 1:]
    assert not (moved[0] != moved[1]).any(-1)[:, 0].any()  # the reference hears nothing
    assert torch.equal(changed, mask[:, 1, :, :, 0] != 0)


def test_a_mask_without_a_sound_is_refused(dit, scene):  # noqa: F811
    x, on = scene
    with pytest.raises(ValueError, match="2 masks and 1 sounds"):
        prediction(dit, x, replace(on, face_mask=on.face_mask.repeat(1, 2, 1, 1, 1)))


def test_an_emotion_of_no_strength_changes_nothing(dit, scene):  # noqa: F811
    x, on = scene
    assert torch.equal(prediction(dit, x, on), prediction(dit, x, replace(on, feelings=feelings(on, 0.0))))


def test_an_emotion_shows_and_a_stronger_one_shows_more(dit, scene):  # noqa: F811
    x, on = scene
    felt = feelings(on, 1.0)
    plain, weak, strong = (
        prediction(dit, x, replace(on, feelings=Feelings(felt.latents, felt.strength * how))) for how in (0, 0.2, 1)
    )
    assert 0 < (weak - plain).abs().mean() < (strong - plain).abs().mean()


def test_an_emotion_touches_its_own_face_only(dit, scene):  # noqa: F811
    x, on = scene
    on = two_faces(on)
    felt = feelings(on, [0.0, 1.0], faces=2)
    with torch.inference_mode():
        mask, sound = dit.token_mask(on.face_mask, x), dit.audio_tokens(on.audio_prompts)
        image = torch.randn(1, x.shape[2] + 1, mask.shape[3], FELT.hidden_size)
        changed = dit.move_faces(0, image, dit.faces(sound, mask, felt)) != image
    assert torch.equal(changed.any(-1)[:, 1:], mask[:, 1, :, :, 0] != 0)


def test_before_training_there_are_no_emotions(scene):  # noqa: F811
    torch.manual_seed(1)
    dit = DiT(FELT).eval()
    x, on = scene
    assert torch.equal(prediction(dit, x, on), prediction(dit, x, replace(on, feelings=feelings(on, 1.0))))


def test_the_released_model_has_no_emotion_weights_and_refuses_them(scene):  # noqa: F811
    dit = DiT(CONFIG).eval()
    assert not any("emotion" in name for name in dit.state_dict())
    x, on = scene
    with pytest.raises(ValueError, match="no emotions"):
        prediction(dit, x, replace(on, feelings=feelings(on, 1.0)))
