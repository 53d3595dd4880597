"""Second stage: the audio encoder learns what mouths and phonemes a stretch of sound implies.

    python -m model.train.audio_encoder --minutes 15

It hears exactly what the stream will let it hear: one window, with the look-ahead to the right and nothing more.
A direct task first is what makes the transformer's lips follow the sound later.
"""

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from model.audio import SAMPLE_RATE, AudioConfig, AudioEncoder
from model.presets import EMBEDDED
from model.train.muon import muon_with_adam
from model.train.phones import PHONES
from model.train.run import Run, learning_rate
from model.train.speech import Corpus, cut_off

MOUTH = ("open", "width", "round", "bite")
CLIP_S = 4.0
TRACK_RATE_HZ = 100
CUT_SHARE = 0.2  # clips whose sound breaks off


class Windows(IterableDataset):
    """Endless windows with the mouth and phoneme of each of their 20 ms positions."""

    def __init__(self, corpus: Path, seed: int, config: AudioConfig, per_clip: int = 8) -> None:
        self.corpus, self.seed, self.config, self.per_clip = corpus, seed, config, per_clip

    def __iter__(self):
        corpus, rng = Corpus(self.corpus), np.random.default_rng(self.seed)
        track = self.config.window_samples * TRACK_RATE_HZ // SAMPLE_RATE
        while True:
            clip = corpus.sample(rng, CLIP_S, augmented=True)
            steps = len(clip.pcm_16k) // (SAMPLE_RATE // TRACK_RATE_HZ)
            if rng.random() < CUT_SHARE:
                clip = cut_off(clip, int(rng.integers(len(clip.mouth))))
            starts = rng.integers(0, steps - track + 1, self.per_clip)
            pcm = np.stack([clip.pcm_16k[s * 160 : s * 160 + self.config.window_samples] for s in starts])
            mouth = np.stack([clip.mouth[s : s + track].reshape(-1, 2, 4).mean(1) for s in starts])
            phones = np.stack([clip.phones[s : s + track : 2] for s in starts])
            yield pcm.astype(np.float32), mouth.astype(np.float32), phones.astype(np.int64)


class Reader(nn.Module):
    """What the encoder's last state says about the mouth (4 numbers) and the phoneme."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mouth = nn.Linear(channels, len(MOUTH))
        self.phone = nn.Linear(channels, len(PHONES))

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        return self.mouth(states), self.phone(states)


def train(folder: Path, corpus: Path, minutes: float, seed: int, clips: int, peak: float) -> None:
    torch.manual_seed(seed)
    config = EMBEDDED.audio
    encoder, reader = AudioEncoder(config), Reader(config.channels)
    model = nn.ModuleDict({"encoder": encoder, "reader": reader})
    optimiser = muon_with_adam(model, lr=peak, adam_share=0.1, edges=("encoder.encoder.conv", "reader"))
    run = Run(folder, minutes)
    parts = {"encoder": encoder, "reader": reader, "optimiser": optimiser}
    run.resume(**parts)
    # Only positions that have their whole look-ahead inside the window and enough past to understand.
    heard = slice(config.positions * 2 // 5, config.positions - config.lookahead_samples // 320)
    batches = iter(DataLoader(Windows(corpus, seed + run.step, config), clips, num_workers=1, prefetch_factor=4))
    while not run.finished:
        optimiser.set_learning_rate(learning_rate(run.progress, peak))
        pcm, mouth, phones = (x.flatten(0, 1) for x in next(batches))
        with torch.autocast("cpu", torch.bfloat16):
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
        run.record(parts, lips=lip_loss.item(), phones=phone_loss.item(), accuracy=right.item())
        if run.step % 1000 == 0:
            score(encoder, reader, corpus.with_name(corpus.name + "_test"))
    run.save(parts)
    score(encoder, reader, corpus.with_name(corpus.name + "_test"))


@torch.inference_mode()
def score(encoder: AudioEncoder, reader: Reader, corpus: Path, batches: int = 24) -> dict[str, float]:
    """Correlation with the true mouth at the stream's own positions, on voices and sentences never trained on."""
    config = encoder.config
    chunk = slice(config.first_position, config.first_position + config.chunk_samples // 320)
    true, made = [], []
    for pcm, mouth, _ in DataLoader(Windows(corpus, 5, config), batch_size=4):
        lips, _ = reader(encoder(pcm.flatten(0, 1))[:, chunk, -1])
        true.append(mouth.flatten(0, 1)[:, chunk].reshape(-1, 4))
        made.append(lips.reshape(-1, 4))
        if len(true) == batches:
            break
    true, made = torch.cat(true), torch.cat(made)
    result = {n: float(torch.corrcoef(torch.stack((true[:, i], made[:, i])))[0, 1]) for i, n in enumerate(MOUTH)}
    logging.getLogger(__name__).info("unseen voices: %s", {n: round(v, 3) for n, v in result.items()})
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/audio_encoder"))
    parser.add_argument("--speech", type=Path, default=Path("runs/speech"))
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--peak", type=float, default=0.01, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    train(options.out, options.speech, options.minutes, options.seed, options.clips, options.peak)
