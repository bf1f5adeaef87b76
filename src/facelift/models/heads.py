"""The MLP that turns tokens into numbers."""

from torch import Tensor, nn


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
