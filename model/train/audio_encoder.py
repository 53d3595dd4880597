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
from torch import nn
from torch.utils.data import DataLoader, Dataset

from model.audio import SAMPLE_RATE, AudioConfig, AudioEncoder
from model.presets import EMBEDDED
from model.train.lips import SHUT_BELOW, Reader, chunk_positions, decided, per_frame
from model.train.muon import muon_with_adam
from model.train.precision import mixed
from model.train.recipe import from_command_line
from model.train.run import Run, learning_rate
from model.train.speech import Corpus, cut_off
from model.train.tracts import another_tract
from model.train.visemes import CHANNELS
from model.train.warm import warm_start

CLIP_S = 4.0
TRACK_RATE_HZ = 100
CUT_SHARE = 0.2  # clips whose sound breaks off
OWN_WEIGHT = 3.0  # of the positions that are the chunk's own, beside those before it
LIP_DELTA = 0.15  # a larger error weighs in proportion only: better one shape than the mean of two
SEEN_SHUT = 0.1  # an opening that looks shut
SCORED = 96  # clips of unseen voices


@dataclass(frozen=True)
class Recipe:
    out: Path
    init: str  # published weights to begin from; empty: a fresh network. What reads the mouth off it is always fresh
    reader_only: bool  # the encoder stays; only what reads the mouth off it is learned, in a tenth of the steps
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
    if recipe.reader_only:
        encoder.requires_grad_(False)
    # Only positions that have their whole look-ahead inside the window and enough past to understand.
    heard = slice(config.positions * 2 // 5, config.positions - config.lookahead_samples // 320)
    weight = torch.ones(heard.stop - heard.start, device=recipe.device)
    weight[-config.chunk_samples // 320 :] = OWN_WEIGHT
    weight /= weight.mean()
    to_come = range(run.step * recipe.clips, recipe.steps * recipe.clips)
    batches = iter(DataLoader(windows, recipe.clips, sampler=to_come, num_workers=1, prefetch_factor=4))
    while not run.finished:
        rng = run.rng()
        optimiser.set_learning_rate(learning_rate(run.progress, recipe.peak))
        pcm, mouth, phones = (x.flatten(0, 1).to(recipe.device) for x in next(batches))
        mel = another_tract(encoder.log_mel(pcm), rng)
        with mixed(pcm.device.type):
            lips, shut, spoken = (x.float() for x in reader(encoder.of_mel(mel)[:, heard, -1]))
        true, said = mouth[:, heard], phones[:, heard]
        lip_loss = (F.huber_loss(lips, true, delta=LIP_DELTA, reduction="none").mean(-1) * weight).mean() / LIP_DELTA
        closed = (true[..., 0] < SHUT_BELOW).float()
        shut_loss = (F.binary_cross_entropy_with_logits(shut, closed, reduction="none") * weight).mean()
        phone_loss = F.cross_entropy(spoken.flatten(0, 1), said.flatten(), label_smoothing=0.05)
        loss = 3 * lip_loss + 0.3 * shut_loss + 0.2 * phone_loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        right = (spoken.argmax(-1) == said).float().mean()
        losses = {"lips": lip_loss.item(), "shut": shut_loss.item(), "phones": phone_loss.item()}
        saved = run.record(parts, **losses, accuracy=right.item())
        if saved and not run.finished:
            run.note(score(encoder, reader, unseen))
    run.report(score(encoder, reader, unseen))
    return encoder


@torch.inference_mode()
def score(encoder: AudioEncoder, reader: Reader, windows: Windows) -> dict[str, float]:
    """Correlation of what is filmed with the true mouth, on voices and sentences never trained on; the share of the
    pictures of a shut mouth, in speech, that are filmed as shut; that of the phonemes recognised."""
    config, device = encoder.config, reader.mouth.weight.device
    chunk = chunk_positions(config)
    true, made, spoke, right = [], [], [], []
    for pcm, mouth, phones in DataLoader(windows, batch_size=4, sampler=range(SCORED)):
        lips, shut, spoken = (x.cpu() for x in reader(encoder(pcm.flatten(0, 1).to(device))[:, chunk, -1]))
        said = phones.flatten(0, 1)[:, chunk]
        true.append(per_frame(mouth.flatten(0, 1)[:, chunk], config).reshape(-1, 4))
        made.append(decided(per_frame(lips, config), per_frame(shut, config)).reshape(-1, 4))
        spoke.append(per_frame((said > 0).float(), config).flatten() == 1)
        right.append((spoken.argmax(-1) == said).float().mean())
    true, made, spoke = torch.cat(true), torch.cat(made), torch.cat(spoke)
    scores = {n: float(torch.corrcoef(torch.stack((true[:, i], made[:, i])))[0, 1]) for i, n in enumerate(CHANNELS)}
    scores = {f"unseen voices: {name}, correlation": value for name, value in scores.items()}
    shut = spoke & (true[:, 0] < SHUT_BELOW)
    scores["unseen voices: shut pictures filmed as shut"] = float((made[shut, 0] < SEEN_SHUT).float().mean())
    return scores | {"unseen voices: phones recognised": float(torch.stack(right).mean())}


def main() -> None:
    recipe = from_command_line(Recipe, "audio_encoder", __doc__)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(recipe.threads)
    train(recipe)


if __name__ == "__main__":
    main()
