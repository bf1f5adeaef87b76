"""Run by test_processes.py: a training whose batches are drawn from one epoch's order, split over its processes."""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from facelift.training.config import LoopConfig
from facelift.training.loop import train
from facelift.training.order import indices

WHOLE_BATCH = 8


class Curve:
    """Fits a curve; layer norm, so that a sample's output does not depend on its batch."""

    def __init__(self, batch: int):
        torch.manual_seed(0)
        self.size = batch
        self.model = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 1))
        self.x = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))

    def batch(self, step, rank=0, world=1):
        chosen = indices(step, batch=self.size, count=len(self.x), seed=3, rank=rank, world=world)
        x = self.x[torch.as_tensor(chosen)]
        return {"x": x, "y": x.square().sum(1, keepdim=True)}

    def losses(self, model, batch):
        return {"loss": (model(batch["x"]) - batch["y"]).square().mean()}

    def evaluate(self, model):
        return {"error": (model(self.x) - self.x.square().sum(1, keepdim=True)).square().mean().item()}

    def picture(self, model):
        return np.zeros((4, 4, 3), np.uint8)


if __name__ == "__main__":
    run, processes, precision, workers = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    settings = {"steps": 12, "lr": 2e-2, "warmup": 2, "evaluate_every": 2, "accelerator": "cpu", "threads": 1}
    config = LoopConfig(
        run=run, batch=WHOLE_BATCH // processes, devices=processes, precision=precision, workers=workers, **settings
    )
    train(Curve(config.batch), config, {})
