"""By what an encoder is known again: latents can only be read by the weights that they were made with."""

import hashlib

import torch

from model.tiny_vae import TinyVAE

DIGITS = 16


def fingerprint(vae: TinyVAE) -> str:
    """Sixteen hex digits of the encoder's weights; the same in float32 and bfloat16, in which they are kept."""
    digest = hashlib.sha256()
    for name, weight in sorted(vae.encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:DIGITS]
