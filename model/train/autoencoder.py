"""First stage: the tiny causal autoencoder learns the drawn world.

    python -m model.train.autoencoder                    # settings: [autoencoder] in recipe.toml, and flags of its names

What it learns from is drawn while it learns; nothing is read from the disk.
"""

import logging
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.carried import Painting, carried, composed
from model.fit import still_latents
from model.presets import EMBEDDED
from model.tiny_vae import MemBlock, TinyVAE
from model.train.muon import muon_with_adam
from model.train.pictures import NEUTRAL, choose_feeling, choose_scene, film, poses_at, random_motion, random_mouth
from model.train.precision import mixed
from model.train.recipe import from_command_line
from model.train.run import Run, learning_rate
from model.train.sheets import pictures_of, psnr, save_sheet, sharpness
from model.train.warm import warm_start
from model.world.marks import IRIS_MARKS, IRISES, MARKS
from model.world.pose import Pose

LATENTS_PER_CLIP = 3
FACE_WEIGHT, EYES_WEIGHT, IRIS_WEIGHT, MOUTH_WEIGHT = 2.0, 4.0, 10.0, 6.0
FLOW_WEIGHT = 0.1  # of a pixel by which a mark of a face is carried astray
SIZE = 256
CELL = EMBEDDED.vae.spatial_factor
SHIPPED_SHARE, PAIR_SHARE = 0.35, 0.2  # of the people; of the clips
RENEWED = 0.3  # clips a step: drawing costs as much as learning, so a clip serves many batches
HELD_OUT = 8  # clips of the cast, and of strangers
COARSE = 4  # pixels that are one for the coarse look at what is carried
NOISE = 0.25  # on latents at most: the decoder is to forgive what the transformer will get wrong


@dataclass(frozen=True)
class Recipe:
    out: Path
    init: str  # published weights to begin from; empty: a fresh network
    decoder_only: bool  # the latents stay; only pictures get better
    steps: int
    batch: int  # pieces of clips
    pool: int  # clips at hand that batches are cut from
    peak: float  # highest learning rate
    seed: int
    threads: int
    device: str  # as PyTorch names it
    save_every: int  # steps


@dataclass(frozen=True)
class Piece:
    """Pieces of clips, and the whole pictures at rest that their people begin from."""

    true: Tensor  # b f 3 crop crop in 0 … 1
    weight: Tensor  # b 1 1 crop crop: of each pixel in the loss
    stills: Tensor  # b 3 SIZE SIZE
    corner: Tensor  # b 2: left and top of each piece in its picture
    marks: Tensor  # b f n 2: where known points of faces are, in pixels of the picture; nan where they are covered
    at_home: Tensor  # b n 2: where they are in the stills

    def to(self, device: str) -> "Piece":
        return Piece(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def at_rest(self) -> Tensor:
        """The same pieces of the stills, b 3 crop crop."""
        crop = self.true.shape[-1]
        cut = zip(self.stills, self.corner.int().tolist(), strict=True)
        return torch.stack([still[:, top : top + crop, left : left + crop] for still, (left, top) in cut])


class Clips:
    """Some neighbours out of an endless row of short clips, that batches are cut from. They move along the row with the
    steps of training, and a clip is drawn from its number, so they follow from the step alone."""

    def __init__(self, seed: int, size: int, shipped_share: float = SHIPPED_SHARE) -> None:
        self.seed, self.shipped_share, self.drawn = seed, shipped_share, 0
        self.frames = LATENTS_PER_CLIP * EMBEDDED.vae.frames_per_latent
        self.pool = np.empty((size, self.frames, SIZE, SIZE, 3), np.uint8)
        self.stills = np.empty((size, SIZE, SIZE, 3), np.uint8)
        self.weights = np.empty((size, SIZE, SIZE), np.float32)  # of each pixel in the loss
        self.marks = np.empty((size, 1 + self.frames, 2 * MARKS, 2), np.float32)  # at rest, then frame by frame
        self.mouths: list[np.ndarray] = [np.empty(0)] * size  # boxes, n 4
        self.faces: list[np.ndarray] = [np.empty(0)] * size

    def move_to(self, step: int) -> None:
        """Draws what is not there yet of the clips that belong to a step."""
        end = len(self.pool) + int(RENEWED * step)
        for number in range(max(self.drawn, end - len(self.pool)), end):
            self._draw(np.random.default_rng((self.seed, number)), number % len(self.pool))
        self.drawn = end

    def _draw(self, rng: np.random.Generator, place: int) -> None:
        scene = choose_scene(rng, self.shipped_share, PAIR_SHARE)
        people = len(scene.people)
        mouths = np.stack([random_mouth(rng, self.frames) for _ in range(people)])
        moved = rng.random(people) < 0.6
        feelings = [choose_feeling(rng, self.frames, 0.2) if one else NEUTRAL for one in moved]
        motion, at_rest = random_motion(rng, self.frames), (Pose.neutral(),) * people
        self.pool[place] = film(scene, motion, mouths, feelings, SIZE)
        self.stills[place] = scene.render(at_rest, SIZE)
        poses = [at_rest, *(poses_at(motion, mouths, feelings, frame) for frame in range(self.frames))]
        self.marks[place] = np.nan
        self.marks[place, :, : people * MARKS] = np.stack([scene.marks(pose) for pose in poses]).reshape(len(poses), -1, 2)
        self.mouths[place], self.faces[place] = np.array(scene.mouth_boxes(SIZE)), np.array(scene.face_boxes(SIZE))
        self.weights[place] = pixel_weights(self.faces[place], self.mouths[place], self.marks[place, 0])

    def batch(self, rng: np.random.Generator, clips: int, latents: int, crop: int) -> Piece:
        """Most of it holds a mouth."""
        frames = latents * EMBEDDED.vae.frames_per_latent
        cut, weights, corners, marks = [], [], [], []
        places = rng.integers(len(self.pool), size=clips)
        for place in places:
            person = rng.integers(len(self.faces[place]))
            x0, y0, x1, y1 = self.mouths[place][person]
            place_of_interest = rng.random()
            if place_of_interest < 0.4:
                centre = (x0 + x1) / 2, (y0 + y1) / 2
            elif place_of_interest < 0.7:
                centre = rng.uniform(self.faces[place][person][:2], self.faces[place][person][2:])
            else:
                centre = rng.uniform(0, SIZE, 2)
            corner = (np.array(centre) - crop / 2 + rng.uniform(-16, 16, 2)).clip(0, SIZE - crop)
            left, top = corner.astype(int) // CELL * CELL
            first = int(rng.integers(self.frames - frames + 1))
            cut.append(self.pool[place, first : first + frames, top : top + crop, left : left + crop])
            weights.append(self.weights[place, top : top + crop, left : left + crop])
            corners.append((left, top))
            marks.append(self.marks[place, 1 + first : 1 + first + frames])
        return Piece(
            torch.from_numpy(np.stack(cut)).permute(0, 1, 4, 2, 3).float() / 255,
            torch.from_numpy(np.stack(weights))[:, None, None],
            torch.from_numpy(self.stills[places]).permute(0, 3, 1, 2).float() / 255,
            torch.tensor(corners).float(),
            torch.from_numpy(np.stack(marks)),
            torch.from_numpy(self.marks[places, 0]),
        )


def pixel_weights(faces: np.ndarray, mouths: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """What an error in each place costs: people look at mouths and eyes first, then at faces. SIZE SIZE."""
    weights = np.ones((SIZE, SIZE), np.float32)
    for left, top, right, bottom in faces:
        height = bottom - top
        weights[top:bottom, left:right] = FACE_WEIGHT
        weights[top + int(0.28 * height) : top + int(0.6 * height), left:right] = EYES_WEIGHT
    for iris in marks.reshape(-1, MARKS, 2)[:, IRISES].reshape(-1, IRIS_MARKS, 2):
        if not np.isnan(iris).any():
            (left, top), (right, bottom) = (iris.min(0) - 5).clip(0).astype(int), (iris.max(0) + 6).astype(int)
            weights[top:bottom, left:right] = IRIS_WEIGHT
    for x0, y0, x1, y1 in mouths:
        weights[max(0, y0 - 8) : y1 + 8, max(0, x0 - 8) : x1 + 8] = MOUTH_WEIGHT
    return weights


def picture_loss(made: Tensor, true: Tensor, weight: Tensor) -> Tensor:
    """Absolute error of colours and of edges, where people look most of all: drawn pictures live by their edges."""
    error = made - true
    loss = (weight * (error.abs() + 2 * error.square())).mean()
    loss = loss + (weight[..., 1:, :] * error.diff(dim=-2).abs()).mean()
    return loss + (weight[..., 1:] * error.diff(dim=-1).abs()).mean()


def carrying_loss(said: Painting, moved: Tensor, piece: Piece) -> Tensor:
    """How far the carried portrait alone is from the truth, fine, and coarse: what is far from its place must find the way.
    Neighbours move alike, and what can be carried is."""
    crop = piece.true.shape[-1] // COARSE
    coarse = carried(said.flow, F.avg_pool2d(piece.stills, COARSE), piece.corner / COARSE, (crop, crop))
    wanted = F.avg_pool2d(piece.true.flatten(0, 1), COARSE).unflatten(0, piece.true.shape[:2])
    rough = F.avg_pool2d(piece.weight[:, 0], COARSE)[:, None]
    loss = 0.5 * (piece.weight * (moved - piece.true).abs()).mean() + (rough * (coarse - wanted).abs()).mean()
    loss = loss + 0.02 * (said.flow.diff(dim=-1).abs().mean() + said.flow.diff(dim=-2).abs().mean())
    return loss + 0.03 * (1 - said.share.float()).mean() + FLOW_WEIGHT * astray(said.flow, piece)


def astray(flow: Tensor, piece: Piece) -> Tensor:
    """By how many pixels known points of the faces are carried from the wrong place, the middle of all that are in view.

    Where nothing of a face is near its place yet, colours do not tell the way; this does."""
    crop = piece.true.shape[-1]
    at = (piece.marks - piece.corner[:, None, None]) * (2 / crop) - 1
    seen = (at.nan_to_num(2.0).abs() < 1).all(-1)  # b f n
    found = F.grid_sample(flow.flatten(0, 1), at.nan_to_num(0.0).flatten(0, 1)[:, None], align_corners=False)
    found = found[:, :, 0].transpose(1, 2).unflatten(0, flow.shape[:2])  # b f n 2
    wanted = (piece.at_home[:, None] - piece.marks).nan_to_num(0.0)
    apart = F.huber_loss(found, wanted, reduction="none").sum(-1)
    return (apart * seen).sum() / seen.sum().clamp(min=1)


def curriculum(step: int, batch: int) -> tuple[int, int, int]:
    """Clips, latents and crop of a step: mostly many small pieces, because neighbouring frames teach little that is new;
    memory over time and whole pictures among them."""
    if step % 8 == 0:
        return max(1, batch // 16), LATENTS_PER_CLIP, SIZE
    return (max(1, batch // 4), 2, 128) if step % 2 == 0 else (batch, 1, 96)


def start_near_identity(vae: TinyVAE) -> None:
    """Without normalisation layers a deep stack learns well only if signals keep their size on the way through it and
    every block begins as little more than its input."""
    for module in vae.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if module.bias is None else "relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in vae.modules():
        if isinstance(module, MemBlock):
            module.conv[-1].weight.data *= 0.1
    vae.decoder[-1].weight.data *= 0.1
    nn.init.constant_(vae.decoder[-1].bias[: 3 * vae.config.patch_size**2], 0.5)  # grey; nothing moves


def train(recipe: Recipe) -> TinyVAE:
    torch.manual_seed(recipe.seed)
    vae = TinyVAE(EMBEDDED.vae)
    start_near_identity(vae)
    warm_start(vae, "vae", recipe.init)
    vae = vae.to(recipe.device, memory_format=torch.channels_last)
    # Muon everywhere: neighbouring pixels are so alike that any other optimiser is slow to see their colours apart.
    optimiser = muon_with_adam(vae, lr=recipe.peak, adam_share=0.05)
    run = Run(recipe)
    parts = {"vae": vae, "optimiser": optimiser}
    run.resume(**parts)
    vae.encoder.requires_grad_(not recipe.decoder_only)
    held_out = held_out_clips(recipe.seed)
    clips, per_latent = Clips(recipe.seed, recipe.pool), EMBEDDED.vae.frames_per_latent
    while not run.finished:
        rng = run.rng()
        optimiser.set_learning_rate(learning_rate(run.progress, recipe.peak))
        clips.move_to(run.step)
        piece = clips.batch(rng, *curriculum(run.step, recipe.batch)).to(recipe.device)
        still = piece.at_rest()
        # At first it would drown the latents.
        noise = NOISE * min(1.0, 10 * run.progress) * torch.rand(len(piece.true), 1, 1, 1, 1, device=piece.true.device)
        with mixed(piece.true.device.type):
            with torch.no_grad():
                at_rest, _ = vae.encode(still[:, None].expand(-1, 2 * per_latent, -1, -1, -1))
            latents, _ = vae.encode(piece.true, still=still)
            said, _ = vae.paint(latents + noise * torch.randn_like(latents), at_rest[:, -1])
        latents, paint = latents.float(), said.paint.float()
        moved = carried(said.flow, piece.stills, piece.corner, piece.true.shape[-2:])
        made = torch.lerp(paint, moved, said.share.float())
        # About unit variance in every channel: the transformer's noise is drawn to that measure.
        mean, variance = latents.mean((0, 1, 3, 4)), latents.var((0, 1, 3, 4))
        loss = picture_loss(made, piece.true, piece.weight) + 0.3 * picture_loss(paint, piece.true, piece.weight)
        loss = loss + carrying_loss(said, moved, piece)
        loss = loss + 0.02 * (mean.square() + (variance + 1e-6).log().square()).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        figures = {"mse": F.mse_loss(made, piece.true).item(), "mse of the paint": F.mse_loss(paint, piece.true).item()}
        figures |= {"marks astray, pixels": astray(said.flow.detach(), piece).item()}
        figures |= {"variance": variance.mean().item(), "carried": said.share.float().mean().item()}
        if run.record(parts, loss=loss.item(), **figures) and not run.finished:
            run.note(sheet(vae, held_out, recipe.out))
    run.report(sheet(vae, held_out, recipe.out))
    return vae


def held_out_clips(seed: int) -> dict[str, Clips]:
    """Clips that nothing is learned from: of the cast, who are trained on, and of strangers, who are not."""
    held_out = {"cast": Clips(seed + 10**6, HELD_OUT, 1.0), "strangers": Clips(seed + 10**6, HELD_OUT, 0.0)}
    for clips in held_out.values():
        clips.move_to(0)
    return held_out


@torch.inference_mode()
def sheet(vae: TinyVAE, held_out: dict[str, Clips], folder: Path) -> dict[str, float]:
    """Draws sheet.png, true frames above reconstructed ones and what is painted of them -> how alike they are."""
    rows, scores, device = [], {}, next(vae.parameters()).device
    for who, clips in held_out.items():
        true, stills = (torch.from_numpy(x).movedim(-1, -3).float().to(device) / 255 for x in (clips.pool, clips.stills))
        latents = torch.stack([still_latents(vae, still) for still in stills])
        said, _ = vae.paint(vae.encode(true, still=stills)[0], latents)
        made, shown = composed(said, stills), clips.pool.reshape(-1, SIZE, SIZE, 3)
        seen, paint = pictures_of(made.flatten(0, 1)), pictures_of(said.paint.flatten(0, 1))
        scores[f"{who}: PSNR, dB"] = psnr(seen, shown)
        scores[f"{who}: sharpness against the truth"] = sharpness(seen) / sharpness(shown)
        rows += [pictures[clips.frames - 1 :: clips.frames][:6] for pictures in (shown, seen, paint)]
    save_sheet(folder / "sheet.png", rows)
    return scores


def main() -> None:
    recipe = from_command_line(Recipe, "autoencoder", __doc__)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(recipe.threads)
    train(recipe)


if __name__ == "__main__":
    main()
