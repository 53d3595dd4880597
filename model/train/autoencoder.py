"""First stage: the tiny causal autoencoder learns the drawn world.

    python -m model.train.autoencoder --minutes 25
"""

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.presets import EMBEDDED
from model.tiny_vae import MemBlock, TinyVAE
from model.train.muon import muon_with_adam
from model.train.pictures import NEUTRAL, choose_feeling, choose_scene, film, random_motion, random_mouth
from model.train.run import Run, learning_rate

LATENTS_PER_CLIP = 3
FACE_WEIGHT, EYES_WEIGHT, MOUTH_WEIGHT = 2.0, 4.0, 4.0
SIZE = 256


class Clips:
    """A pool of short clips, slowly renewed, that batches are cut from."""

    def __init__(self, seed: int, size: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.frames = LATENTS_PER_CLIP * EMBEDDED.vae.frames_per_latent
        self.pool = np.empty((size, self.frames, SIZE, SIZE, 3), np.uint8)
        self.weights = np.empty((size, SIZE, SIZE), np.float32)  # of each pixel in the loss
        self.mouths: list[np.ndarray] = [np.empty(0)] * size  # boxes, n 4
        self.faces: list[np.ndarray] = [np.empty(0)] * size
        for place in range(size):
            self._renew(place)

    def _renew(self, place: int) -> None:
        scene = choose_scene(self.rng, shipped_share=0.6, pair_share=0.35)
        people = len(scene.people)
        mouths = np.stack([random_mouth(self.rng, self.frames) for _ in range(people)])
        moved = self.rng.random(people) < 0.6
        feelings = [choose_feeling(self.rng, self.frames, 0.2) if one else NEUTRAL for one in moved]
        self.pool[place] = film(scene, random_motion(self.rng, self.frames), mouths, feelings, SIZE)
        self.mouths[place], self.faces[place] = np.array(scene.mouth_boxes(SIZE)), np.array(scene.face_boxes(SIZE))
        self.weights[place] = pixel_weights(self.faces[place], self.mouths[place])

    def batch(self, clips: int, latents: int, crop: int) -> tuple[Tensor, Tensor]:
        """b f 3 crop crop in [0, 1], most of them holding a mouth, and the weight of each pixel, b 1 1 crop crop."""
        if self.rng.random() < 0.3:  # drawing costs as much as learning: a clip serves many batches
            self._renew(int(self.rng.integers(len(self.pool))))
        frames = latents * EMBEDDED.vae.frames_per_latent
        cut, weights = [], []
        for place in self.rng.integers(len(self.pool), size=clips):
            person = self.rng.integers(len(self.faces[place]))
            x0, y0, x1, y1 = self.mouths[place][person]
            place_of_interest = self.rng.random()
            if place_of_interest < 0.4:
                centre = (x0 + x1) / 2, (y0 + y1) / 2
            elif place_of_interest < 0.7:
                centre = self.rng.uniform(self.faces[place][person][:2], self.faces[place][person][2:])
            else:
                centre = self.rng.uniform(0, SIZE, 2)
            corner = (np.array(centre) - crop / 2 + self.rng.uniform(-16, 16, 2)).clip(0, SIZE - crop)
            left, top = corner.astype(int) // 4 * 4
            first = int(self.rng.integers(self.frames - frames + 1))
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


def train(folder: Path, minutes: float, seed: int, batch: int, peak: float, decoder_only: bool) -> None:
    torch.manual_seed(seed)
    vae = TinyVAE(EMBEDDED.vae).to(memory_format=torch.channels_last)
    start_near_identity(vae)
    # Muon everywhere: neighbouring pixels are so alike that any other optimiser is slow to see their colours apart.
    optimiser = muon_with_adam(vae, lr=peak, adam_share=0.05)
    run = Run(folder, minutes)
    parts = {"vae": vae, "optimiser": optimiser}
    run.resume(**parts)
    vae.encoder.requires_grad_(not decoder_only)
    clips = Clips(seed + run.step, size=240)
    held_out = Clips(seed + 10**6, size=8)
    while not run.finished:
        optimiser.set_learning_rate(learning_rate(run.progress, peak))
        true, weight = clips.batch(*curriculum(run.progress, run.step, batch))
        # Noise makes the decoder forgive what the transformer will get wrong. At first it would drown the latents.
        noise = 0.04 * min(1.0, 10 * run.progress)
        with torch.autocast("cpu", torch.bfloat16):
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
        if run.record(parts, loss=loss.item(), mse=F.mse_loss(made, true).item(), variance=variance.mean().item()):
            sheet(vae, held_out, folder / "sample.png")
    run.save(parts)


@torch.inference_mode()
def sheet(vae: TinyVAE, clips: Clips, path: Path) -> None:
    """True frames above reconstructed ones."""
    from PIL import Image

    true = torch.from_numpy(clips.pool[:6]).permute(0, 1, 4, 2, 3).float() / 255
    made, _ = vae.decode(vae.encode(true)[0])
    rows = [torch.cat(list(x[:, -1].clamp(0, 1)), 2) for x in (true, made)]
    Image.fromarray((torch.cat(rows, 1).permute(1, 2, 0) * 255).byte().numpy()).save(path)
    logging.getLogger(__name__).info("held-out PSNR %.2f dB", -10 * np.log10(F.mse_loss(made.clamp(0, 1), true).item()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/autoencoder"))
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--peak", type=float, default=0.006, help="highest learning rate")
    parser.add_argument("--decoder-only", action="store_true", help="the latents stay; only pictures get better")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    train(options.out, options.minutes, options.seed, options.batch, options.peak, options.decoder_only)
