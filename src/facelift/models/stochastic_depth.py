"""Residual branches that training leaves out at random (Huang et al. 2016)."""

from torch import Tensor, nn


class StochasticDepth(nn.Module):
    """In training a sample's branch (b, ...) is zero with probability `chance`, else scaled to keep its mean."""

    def __init__(self, chance: float):
        super().__init__()
        self.chance = chance

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or not self.chance:
            return branch
        kept = branch.new_empty([len(branch)] + [1] * (branch.ndim - 1)).bernoulli_(1 - self.chance)
        return branch * kept / (1 - self.chance)


def rising(depths: tuple[int, ...], highest: float) -> list[list[float]]:
    """Chances of each stage's blocks, from 0 at the first to `highest` at the last block of all."""
    steps = max(1, sum(depths) - 1)
    first = [sum(depths[:stage]) for stage in range(len(depths))]
    return [
        [highest * (begin + block) / steps for block in range(depth)]
        for begin, depth in zip(first, depths, strict=True)
    ]
