"""First stage: the tiny causal autoencoder learns the drawn world.

    python -m model.train.autoencoder                    # settings: [autoencoder] in recipe.toml, and flags of its names

What it learns from is drawn while it learns; nothing is read from the disk.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.presets import EMBEDDED
from model.tiny_vae import MemBlock, TinyVAE
from model.train.muon import muon_with_adam
from model.train.pictures import NEUTRAL, choose_feeling, choose_scene, film, random_motion, random_mouth
from model.train.recipe import from_command_line
from model.train.run import Run, learning_rate
from model.train.sheets import pictures_of, psnr, save_sheet, sharpness
from model.train.warm import warm_start

LATENTS_PER_CLIP = 3
FACE_WEIGHT, EYES_WEIGHT, MOUTH_WEIGHT = 2.0, 4.0, 4.0
SIZE = 256
SHIPPED_SHARE = 0.6  # of the people
RENEWED = 0.3  # clips a step: drawing costs as much as learning, so a clip serves many batches
HELD_OUT = 8  # clips of the cast, and of strangers


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


class Clips:
    """Some neighbours out of an endless row of short clips, that batches are cut from. They move along the row with the
    steps of training, and a clip is drawn from its number, so they follow from the step alone."""

    def __init__(self, seed: int, size: int, shipped_share: float = SHIPPED_SHARE) -> None:
        self.seed, self.shipped_share, self.drawn = seed, shipped_share, 0
        self.frames = LATENTS_PER_CLIP * EMBEDDED.vae.frames_per_latent
        self.pool = np.empty((size, self.frames, SIZE, SIZE, 3), np.uint8)
        self.weights = np.empty((size, SIZE, SIZE), np.float32)  # of each pixel in the loss
        self.mouths: list[np.ndarray] = [np.empty(0)] * size  # boxes, n 4
        self.faces: list[np.ndarray] = [np.empty(0)] * size

    def move_to(self, step: int) -> None:
        """Draws what is not there yet of the clips that belong to a step."""
        end = len(self.pool) + int(RENEWED * step)
        for number in range(max(self.drawn, end - len(self.pool)), end):
            self._draw(np.random.default_rng((self.seed, number)), number % len(self.pool))
        self.drawn = end

    def _draw(self, rng: np.random.Generator, place: int) -> None:
        scene = choose_scene(rng, self.shipped_share, pair_share=0.35)
        people = len(scene.people)
        mouths = np.stack([random_mouth(rng, self.frames) for _ in range(people)])
        moved = rng.random(people) < 0.6
        feelings = [choose_feeling(rng, self.frames, 0.2) if one else NEUTRAL for one in moved]
        self.pool[place] = film(scene, random_motion(rng, self.frames), mouths, feelings, SIZE)
        self.mouths[place], self.faces[place] = np.array(scene.mouth_boxes(SIZE)), np.array(scene.face_boxes(SIZE))
        self.weights[place] = pixel_weights(self.faces[place], self.mouths[place])

    def batch(self, rng: np.random.Generator, clips: int, latents: int, crop: int) -> tuple[Tensor, Tensor]:
        """b f 3 crop crop in [0, 1], most of them holding a mouth, and the weight of each pixel, b 1 1 crop crop."""
        frames = latents * EMBEDDED.vae.frames_per_latent
        cut, weights = [], []
        for place in rng.integers(len(self.pool), size=clips):
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
            left, top = corner.astype(int) // 4 * 4
            first = int(rng.integers(self.frames - frames + 1))
            cut.append(self.pool[place, first : first + frames, top : top + crop, left : left + crop])
            weights.append(self.weights[place, top : top + crop, left : left + crop])
        pictures = torch.from_numpy(np.stack(cut)).permute(0, 1, 4, 2, 3).float() / 255
        return pictures, torch.from_numpy(np.stack(weights))[:, None, None]


def pixel_weights(faces: np.ndarray, mouths: np.ndarray) -> np.ndarray:
    """What an error in each place costs: people look at mouths and eyes first, then at faces. SIZE SIZE."""
    weights = np.ones((SIZE, SIZE), np.float32)
    for left, top, right, bottom in faces:
        height = bottom - top
        weights[top:bottom, left:right] = FACE_WEIGHT
        weights[top + int(0.28 * height) : top + int(0.6 * height), left:right] = EYES_WEIGHT
    for x0, y0, x1, y1 in mouths:
        weights[max(0, y0 - 8) : y1 + 8, max(0, x0 - 8) : x1 + 8] = MOUTH_WEIGHT
    return weights


def picture_loss(made: Tensor, true: Tensor, weight: Tensor) -> Tensor:
    """Absolute error of colours and of edges, where people look most of all: drawn pictures live by their edges."""
    error = made - true
    loss = (weight * (error.abs() + 2 * error.square())).mean()
    loss = loss + (weight[..., 1:, :] * error.diff(dim=-2).abs()).mean()
    return loss + (weight[..., 1:] * error.diff(dim=-1).abs()).mean()


def curriculum(progress: float, step: int, batch: int) -> tuple[int, int, int]:
    """Clips, latents and crop of a step: many small pieces first, because neighbouring frames teach little that is new;
    memory over time and whole pictures once single pieces look right."""
    if progress > 0.9 and step % 8 == 0:
        return max(1, batch // 16), LATENTS_PER_CLIP, SIZE
    if progress > 0.6 and step % 4 == 0:
        return max(1, batch // 5), LATENTS_PER_CLIP, 128
    return (batch, 1, 96) if progress < 0.6 else (batch, 1, 64)


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
    nn.init.constant_(vae.decoder[-1].bias, 0.5)


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
    clips = Clips(recipe.seed, recipe.pool)
    while not run.finished:
        rng = run.rng()
        optimiser.set_learning_rate(learning_rate(run.progress, recipe.peak))
        clips.move_to(run.step)
        cut = clips.batch(rng, *curriculum(run.progress, run.step, recipe.batch))
        true, weight = (x.to(recipe.device) for x in cut)
        # Noise makes the decoder forgive what the transformer will get wrong. At first it would drown the latents.
        noise = 0.04 * min(1.0, 10 * run.progress)
        with torch.autocast(true.device.type, torch.bfloat16):
            latents, _ = vae.encode(true)
            made, _ = vae.decode(latents + noise * torch.randn_like(latents))
        made, latents = made.float(), latents.float()
        # About unit variance in every channel: the transformer's noise is drawn to that measure.
        mean, variance = latents.mean((0, 1, 3, 4)), latents.var((0, 1, 3, 4))
        loss = picture_loss(made, true, weight) + 0.02 * (mean.square() + (variance + 1e-6).log().square()).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        mse = F.mse_loss(made, true).item()
        if run.record(parts, loss=loss.item(), mse=mse, variance=variance.mean().item()) and not run.finished:
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
    """Draws sheet.png, true frames above reconstructed ones -> how alike they are."""
    rows, scores = [], {}
    for who, clips in held_out.items():
        true = torch.from_numpy(clips.pool).permute(0, 1, 4, 2, 3).float() / 255
        made, _ = vae.decode(vae.encode(true.to(next(vae.parameters()).device))[0])
        shown, seen = clips.pool.reshape(-1, SIZE, SIZE, 3), pictures_of(made.flatten(0, 1))
        scores[f"{who}: PSNR, dB"] = psnr(seen, shown)
        scores[f"{who}: sharpness against the truth"] = sharpness(seen) / sharpness(shown)
        rows += [pictures[clips.frames - 1 :: clips.frames][:6] for pictures in (shown, seen)]
    save_sheet(folder / "sheet.png", rows)
    return scores


def main() -> None:
    recipe = from_command_line(Recipe, "autoencoder", __doc__)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(recipe.threads)
    train(recipe)


if __name__ == "__main__":
    main()
