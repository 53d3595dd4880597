"""The small convolutional network behind the readers, and how it learns. Knows no people."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH = 64
WIDTHS = (24, 40, 56)
LEARNING_RATE = 4e-3


def network(inputs: int, outputs: int) -> nn.Module:
    """b inputs h w -> b outputs."""
    layers: list[nn.Module] = []
    for width in WIDTHS:
        layers += [nn.Conv2d(inputs, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(128), nn.ReLU(), nn.Linear(128, outputs))


@torch.inference_mode(False)
def taught(pictures: Tensor, answers: Tensor, steps: int, seed: int) -> nn.Module:
    """pictures n c h w uint8; answers n outputs, numbers to read, or n whole numbers, classes to tell apart."""
    torch.manual_seed(seed)
    classes = answers.dtype == torch.long
    error = F.cross_entropy if classes else _distance(answers.std(0).clamp(min=1e-3))
    net = network(pictures.shape[1], int(answers.max()) + 1 if classes else answers.shape[1])
    net(centred(pictures[:2]))
    optimiser = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, steps)
    for _ in range(steps):
        some = torch.randint(len(pictures), (BATCH,))
        loss = error(net(disturbed(centred(pictures[some]))), answers[some])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()


def _distance(spread: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda told, answer: F.smooth_l1_loss(told / spread, answer / spread, beta=0.1)


def centred(pictures: Tensor) -> Tensor:
    return pictures.float() / 127.5 - 1


def disturbed(seen: Tensor) -> Tensor:
    """A generated picture is a little softer, flatter and noisier than a drawn one; that must not decide."""
    one = (len(seen), 1, 1, 1)
    soft = torch.rand(one) * (torch.rand(one) < 0.5)
    seen = seen + soft * (F.avg_pool2d(seen, 3, 1, 1, count_include_pad=False) - seen)
    return (0.95 + 0.1 * torch.rand(one)) * seen + 0.03 * torch.randn(one) + 0.02 * torch.randn_like(seen)
