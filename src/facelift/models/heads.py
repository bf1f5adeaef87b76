"""The MLP that turns tokens into numbers, and the precision in which it does."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


def full_precision(tokens: Tensor) -> AbstractContextManager:
    """Turns autocast off for what follows the tokens: bf16 keeps 8 bits, which is half a pixel of a 128 px crop in a
    projection, and the likelihood needs float32."""
    kind = tokens.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


class Head(nn.Module):
    """Two-layer MLP whose last layer starts near zero, so that a fresh network predicts its template."""

    def __init__(self, width: int, outputs: int):
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, outputs)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(nn.functional.gelu(self.hidden(tokens)))
