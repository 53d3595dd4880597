"""Before the transformer: an onlooker learns to say what a latent frame shows of a person.

    python -m model.train.onlooker                       # settings: [onlooker] in recipe.toml, and flags of its names

How wide a mouth is and where a brow stands are small in a latent, and in the square of its error they hardly count; to
who looks at a face they are what counts. So the transformer is also asked whether an onlooker sees the same in its frames
as in the true ones. The onlooker learns from latents of true pictures alone.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from model.motion import MOTION_CENTRE
from model.presets import EMBEDDED
from model.train.clips import EMOTION_NAMES, strengths
from model.train.precision import mixed
from model.train.recipe import from_command_line
from model.train.run import Run, learning_rate, trained
from model.train.visemes import CHANNELS

SIDE = 12  # places across a face at which its latents are read
MARGIN = 0.12  # around the box of a face, in its size
WIDTHS = (96, 128, 160, 256)
NOISE = 0.5  # on latents at most: frames to be judged are not quite true ones
MOTION = ("lids first", "lids last", "gaze", "brows", "yaw", "pitch", "roll", "breath")
MIRRORED = torch.tensor([1.0, 1, -1, 1, -1, 1, -1, 1])  # of two people, the right one moves as in a mirror
SEEN = (*(f"{name} {when}" for when in ("first", "last") for name in CHANNELS), *MOTION, *EMOTION_NAMES[1:])
LEAST_SPREAD = 1e-3


@dataclass(frozen=True)
class Recipe:
    out: Path
    clips: Path
    held_out: int  # clips kept out of training, for the scores
    steps: int
    batch: int  # people in latent frames
    peak: float  # highest learning rate
    seed: int
    threads: int
    device: str  # as PyTorch names it
    save_every: int  # steps


class Onlooker(nn.Module):
    """Latents b c h w, those of the resting picture b c h w, and the box of a face b 4 in shares of the picture -> b SEEN,
    each about as far spread as the others."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second, third, last = WIDTHS
        self.face = nn.Sequential(
            nn.Conv2d(2 * channels, first, 3, padding=1), nn.ReLU(),
            nn.Conv2d(first, second, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(second, third, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(third * (SIDE // 4) ** 2, last), nn.ReLU(),
        )  # fmt: skip
        self.says = nn.Linear(last, len(SEEN))

    def forward(self, latents: Tensor, reference: Tensor, box: Tensor) -> Tensor:
        return self.says(self.face(at_face(torch.cat((latents - reference, reference), 1), box)))


def at_face(latents: Tensor, box: Tensor) -> Tensor:
    """b c h w and boxes b 4 -> b c SIDE SIDE: what lies in the box and a little around it."""
    low, high = box[:, :2], box[:, 2:]
    low, size = low - MARGIN * (high - low), (1 + 2 * MARGIN) * (high - low)
    place = (torch.arange(SIDE, device=box.device) + 0.5) / SIDE
    x, y = (2 * (low[:, axis, None] + place * size[:, axis, None]) - 1 for axis in (0, 1))
    grid = torch.stack((x[:, None].expand(-1, SIDE, -1), y[:, :, None].expand(-1, -1, SIDE)), -1)
    return F.grid_sample(latents, grid.to(latents.dtype), padding_mode="border", align_corners=False)


def shown(clip: dict[str, Tensor]) -> Tensor:
    """What the true pictures of a clip show of each person in each latent frame, n t SEEN."""
    mouth = clip["mouth"].unflatten(1, (-1, EMBEDDED.dit.frames_per_latent))[:, :, (0, -1)].flatten(2)
    motion = (torch.cat((clip["exp"], clip["pose"]), -1) - MOTION_CENTRE).expand(len(mouth), -1, -1)
    motion = torch.cat((motion[:1], motion[1:] * MIRRORED))
    names = F.one_hot(clip["emotion"], len(EMOTION_NAMES))[..., 1:].float()  # n 2 emotions
    return torch.cat((mouth, motion, torch.einsum("net,nek->ntk", strengths(clip), names)), -1).float()


@dataclass(frozen=True)
class Frames:
    """Everybody in every latent frame of some clips."""

    latents: Tensor  # clips t c h w, float16
    reference: Tensor  # clips c h w
    boxes: Tensor  # people 4
    clip: Tensor  # people: the clip they are in
    answers: Tensor  # people t SEEN

    @classmethod
    def of(cls, clips: list[dict[str, Tensor]]) -> "Frames":
        people = [number for number, clip in enumerate(clips) for _ in clip["face_box"]]
        latents, reference = (torch.stack([clip[name] for clip in clips]) for name in ("latents", "reference"))
        boxes, answers = torch.cat([clip["face_box"] for clip in clips]), torch.cat([shown(clip) for clip in clips])
        return cls(latents, reference, boxes.float(), torch.tensor(people), answers)

    def some(self, person: Tensor, frame: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Latents, resting latents, boxes and answers of these people in these frames."""
        clip, answers = self.clip[person], self.answers[person, frame]
        return self.latents[clip, frame].float(), self.reference[clip].float(), self.boxes[person], answers


def train(recipe: Recipe) -> Onlooker:
    torch.manual_seed(recipe.seed)
    paths = sorted(recipe.clips.glob("[0-9]*.safetensors"))
    if len(paths) <= recipe.held_out:
        raise ValueError(f"{recipe.clips} has {len(paths)} clips, and {recipe.held_out} are to be kept out of training")
    clips = [load_file(path) for path in paths]
    known, unseen = (Frames.of(part) for part in (clips[: len(clips) - recipe.held_out], clips[-recipe.held_out :]))
    middle = known.answers.mean((0, 1))
    spread = known.answers.std((0, 1)).clamp(min=LEAST_SPREAD)
    onlooker = Onlooker(EMBEDDED.vae.latent_channels).to(recipe.device)
    optimiser = torch.optim.AdamW(onlooker.parameters(), weight_decay=0.05)
    run = Run(recipe, learned_from=len(known.latents))
    parts = {"onlooker": onlooker, "optimiser": optimiser}
    run.resume(**parts)
    people, frames = known.answers.shape[:2]
    while not run.finished:
        rng = run.rng()
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(run.progress, recipe.peak)
        places = (torch.from_numpy(rng.integers(count, size=recipe.batch)) for count in (people, frames))
        latents, reference, boxes, answers = (x.to(recipe.device) for x in known.some(*places))
        noise = NOISE * torch.rand(len(latents), 1, 1, 1, device=latents.device)
        with mixed(latents.device.type):
            said = onlooker(latents + noise * torch.randn_like(latents), reference, boxes).float()
        wanted = (answers - middle.to(said)) / spread.to(said)
        loss = F.smooth_l1_loss(said, wanted, beta=0.3)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if run.record(parts, loss=loss.item()) and not run.finished:
            run.note(score(onlooker, unseen))
    run.report(score(onlooker, unseen))
    return onlooker


@torch.inference_mode()
def score(onlooker: Onlooker, unseen: Frames) -> dict[str, float]:
    """Correlation of what is said with what is shown, in clips that nothing was learned from; nan for what never shows."""
    people, frames = unseen.answers.shape[:2]
    device, said = next(onlooker.parameters()).device, []
    for person in range(people):
        latents, reference, boxes, _ = unseen.some(torch.full((frames,), person), torch.arange(frames))
        said.append(onlooker(latents.to(device), reference.to(device), boxes.to(device)).cpu())
    said, true = torch.stack(said).flatten(0, 1).numpy(), unseen.answers.flatten(0, 1).numpy()
    with np.errstate(invalid="ignore"):
        return {f"{name}, correlation": float(np.corrcoef(said[:, i], true[:, i])[0, 1]) for i, name in enumerate(SEEN)}


def load_onlooker(checkpoint: Path) -> Onlooker:
    onlooker = Onlooker(EMBEDDED.vae.latent_channels).eval()
    onlooker.load_state_dict(trained(checkpoint, "onlooker"))
    return onlooker.requires_grad_(False)


def main() -> None:
    recipe = from_command_line(Recipe, "onlooker", __doc__)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(recipe.threads)
    train(recipe)


if __name__ == "__main__":
    main()
