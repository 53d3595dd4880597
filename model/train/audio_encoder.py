"""Second stage: the audio encoder learns what mouths and phonemes a stretch of sound implies.

    python -m model.train.audio_encoder                  # settings: [audio_encoder] in recipe.toml, and flags of its names

It hears exactly what the stream will let it hear: one window, with the look-ahead to the right and nothing more.
A direct task first is what makes the transformer's lips follow the sound later.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from model.audio import SAMPLE_RATE, AudioConfig, AudioEncoder
from model.presets import EMBEDDED
from model.train.muon import muon_with_adam
from model.train.phones import PHONES
from model.train.recipe import from_command_line
from model.train.run import Run, learning_rate
from model.train.speech import Corpus, cut_off
from model.train.warm import warm_start

MOUTH = ("open", "width", "round", "bite")
CLIP_S = 4.0
TRACK_RATE_HZ = 100
CUT_SHARE = 0.2  # clips whose sound breaks off
SCORED = 96  # clips of unseen voices


@dataclass(frozen=True)
class Recipe:
    out: Path
    init: str  # published weights to begin from; empty: a fresh network. What reads the mouth off it is always fresh
    speech: Path
    speech_test: Path
    steps: int
    clips: int  # in a batch
    peak: float  # highest learning rate
    seed: int
    threads: int
    device: str  # as PyTorch names it
    save_every: int  # steps


class Windows(Dataset):
    """Endless windows with the mouth and phoneme of each of their 20 ms positions, by number: some of one clip at a time.
    Each number is drawn by itself, so what a step learns from follows from the step."""

    def __init__(self, corpus: Path, seed: int, config: AudioConfig, per_clip: int = 8) -> None:
        self.corpus, self.seed, self.config, self.per_clip = Corpus(corpus), seed, config, per_clip

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.seed, number))
        track = self.config.window_samples * TRACK_RATE_HZ // SAMPLE_RATE
        clip = self.corpus.sample(rng, CLIP_S, augmented=True)
        steps = len(clip.pcm_16k) // (SAMPLE_RATE // TRACK_RATE_HZ)
        if rng.random() < CUT_SHARE:
            clip = cut_off(clip, int(rng.integers(len(clip.mouth))))
        starts = rng.integers(0, steps - track + 1, self.per_clip)
        pcm = np.stack([clip.pcm_16k[s * 160 : s * 160 + self.config.window_samples] for s in starts])
        mouth = np.stack([clip.mouth[s : s + track].reshape(-1, 2, 4).mean(1) for s in starts])
        phones = np.stack([clip.phones[s : s + track : 2] for s in starts])
        return pcm.astype(np.float32), mouth.astype(np.float32), phones.astype(np.int64)


class Reader(nn.Module):
    """What the encoder's last state says about the mouth (4 numbers) and the phoneme."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mouth = nn.Linear(channels, len(MOUTH))
        self.phone = nn.Linear(channels, len(PHONES))

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        return self.mouth(states), self.phone(states)


def train(recipe: Recipe) -> AudioEncoder:
    torch.manual_seed(recipe.seed)
    config = EMBEDDED.audio
    encoder, reader = AudioEncoder(config), Reader(config.channels)
    warm_start(encoder, "audio", recipe.init)
    model = nn.ModuleDict({"encoder": encoder, "reader": reader}).to(recipe.device)
    optimiser = muon_with_adam(model, lr=recipe.peak, adam_share=0.1, edges=("encoder.encoder.conv", "reader"))
    windows, unseen = Windows(recipe.speech, recipe.seed, config), Windows(recipe.speech_test, 5, config)
    run = Run(recipe, speech_s=windows.corpus.duration_s)
    parts = {"encoder": encoder, "reader": reader, "optimiser": optimiser}
    run.resume(**parts)
    # Only positions that have their whole look-ahead inside the window and enough past to understand.
    heard = slice(config.positions * 2 // 5, config.positions - config.lookahead_samples // 320)
    to_come = range(run.step * recipe.clips, recipe.steps * recipe.clips)
    batches = iter(DataLoader(windows, recipe.clips, sampler=to_come, num_workers=1, prefetch_factor=4))
    while not run.finished:
        optimiser.set_learning_rate(learning_rate(run.progress, recipe.peak))
        pcm, mouth, phones = (x.flatten(0, 1).to(recipe.device) for x in next(batches))
        with torch.autocast(pcm.device.type, torch.bfloat16):
            states = encoder(pcm)[:, heard, -1]
            lips, spoken = reader(states)
        lip_loss = (lips.float() - mouth[:, heard]).square().mean()
        phone_loss = F.cross_entropy(spoken.float().flatten(0, 1), phones[:, heard].flatten())
        loss = 10 * lip_loss + 0.2 * phone_loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        right = (spoken.argmax(-1).flatten() == phones[:, heard].flatten()).float().mean()
        saved = run.record(parts, lips=lip_loss.item(), phones=phone_loss.item(), accuracy=right.item())
        if saved and not run.finished:
            run.note(score(encoder, reader, unseen))
    run.report(score(encoder, reader, unseen))
    return encoder


@torch.inference_mode()
def score(encoder: AudioEncoder, reader: Reader, windows: Windows) -> dict[str, float]:
    """Correlation with the true mouth at the stream's own positions, on voices and sentences never trained on, and the
    share of these positions whose phoneme is recognised."""
    config, device = encoder.config, reader.mouth.weight.device
    chunk = slice(config.first_position, config.first_position + config.chunk_samples // 320)
    true, made, right = [], [], []
    for pcm, mouth, phones in DataLoader(windows, batch_size=4, sampler=range(SCORED)):
        lips, spoken = (x.cpu() for x in reader(encoder(pcm.flatten(0, 1).to(device))[:, chunk, -1]))
        true.append(mouth.flatten(0, 1)[:, chunk].reshape(-1, 4))
        made.append(lips.reshape(-1, 4))
        right.append((spoken.argmax(-1) == phones.flatten(0, 1)[:, chunk]).float().mean())
    true, made = torch.cat(true), torch.cat(made)
    scores = {n: float(torch.corrcoef(torch.stack((true[:, i], made[:, i])))[0, 1]) for i, n in enumerate(MOUTH)}
    scores = {f"unseen voices: {name}, correlation": value for name, value in scores.items()}
    return scores | {"unseen voices: phones recognised": float(torch.stack(right).mean())}


def main() -> None:
    recipe = from_command_line(Recipe, "audio_encoder", __doc__)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(recipe.threads)
    train(recipe)


if __name__ == "__main__":
    main()
