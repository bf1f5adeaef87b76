"""The loop of a GAN: critic and generator in turn, each with its own Adam, resumable to the step.

Beside `training.loop`, which has one optimiser with momentum; a GAN of StyleGAN2's kind needs two without."""

import copy
import logging
import math
import os
import time
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from facelift.checkpoints.safe_load import fill
from facelift.training.gan_config import GanLoopConfig
from facelift.training.loop import StopRequest
from facelift.training.progress import Progress
from facelift.training.run_folder import RunFolder

log = logging.getLogger(__name__)
Batch = dict[str, Tensor]


@runtime_checkable
class GanTask(Protocol):
    """What is learned."""

    @property
    def generator(self) -> nn.Module: ...

    @property
    def critic(self) -> nn.Module: ...

    def batch(self, step: int) -> Batch:
        """A pure function of the step, latents included."""

    def critic_losses(self, batch: Batch, *, penalty: bool) -> dict[str, Tensor]:
        """Named losses; `critic` is their total."""

    def generator_losses(self, batch: Batch, *, smooth: bool) -> dict[str, Tensor]:
        """Named losses; `generator` is their total."""

    def evaluate(self, generator: nn.Module) -> dict[str, float]:
        """Metrics of the averaged generator."""

    def picture(self, generator: nn.Module) -> np.ndarray:
        """A sheet of samples, (h, w, 3) uint8."""


def train_gan(task: GanTask, config: GanLoopConfig, description: dict[str, Any]) -> Path:
    """Trains to `config.steps`, from the run folder's checkpoint if there is one; returns the checkpoint's path."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if config.threads:
        torch.set_num_threads(config.threads)
    folder = RunFolder(config.run)
    folder.claim(description, resumable=("steps", "minutes", "threads", "evaluate_every", "checkpoint_minutes"))
    state = _State(task, config)
    state.restore(folder)
    deadline = time.monotonic() + config.minutes * 60 if config.minutes else math.inf
    last_checkpoint = time.monotonic()
    with StopRequest() as stop, Progress(config.steps, state.step, config.batch) as progress:
        while state.step < config.steps:
            losses = state.train_step()
            progress.advance(losses)
            if state.step % config.evaluate_every == 0 or state.step == config.steps:
                state.evaluate(folder, losses)
            if time.monotonic() - last_checkpoint > config.checkpoint_minutes * 60:
                state.save(folder)
                last_checkpoint = time.monotonic()
            if stop.requested or time.monotonic() > deadline:
                break
    state.save(folder)
    return folder.checkpoint


def _device(config: GanLoopConfig) -> torch.device:
    usable = torch.cuda.is_available() and config.accelerator != "cpu"
    return torch.device("cuda" if usable else "cpu")


class _State:
    """Both networks, the averaged generator, both optimisers, the step."""

    def __init__(self, task: GanTask, config: GanLoopConfig):
        self.task, self.config, self.step, self.device = task, config, 0, _device(config)
        self.networks = {"generator": task.generator.to(self.device), "critic": task.critic.to(self.device)}
        self.averaged = copy.deepcopy(task.generator).eval().requires_grad_(False)
        lazy = {"generator": config.smooth_every, "critic": config.r1_every}
        rates = {"generator": config.generator_lr, "critic": config.critic_lr}
        self.optimizers = {
            name: torch.optim.Adam(
                network.parameters(),
                lr=rates[name] * lazy[name] / (lazy[name] + 1),  # Karras et al. 2020, appendix B: lazy penalties
                betas=(0.0, 0.99 ** (lazy[name] / (lazy[name] + 1))),
                fused=True,
            )
            for name, network in self.networks.items()
        }

    def train_step(self) -> dict[str, float]:
        config = self.config
        torch.manual_seed(config.seed * 1_000_003 + self.step)  # the jitter of rays: a resumed run draws the same
        batch = {name: value.to(self.device) for name, value in self.task.batch(self.step).items()}
        critic = self.task.critic_losses(batch, penalty=self.step % config.r1_every == 0)
        self._descend("critic", critic["critic"])
        made = self.task.generator_losses(batch, smooth=self.step % config.smooth_every == 0)
        self._descend("generator", made["generator"])
        self._average()
        values = {name: float(value.detach()) for name, value in {**critic, **made}.items()}
        if not all(map(math.isfinite, values.values())):
            raise FloatingPointError(f"step {self.step}: the losses are {values}, expected finite numbers")
        self.step += 1
        return values

    def _descend(self, name: str, loss: Tensor) -> None:
        parameters = list(self.networks[name].parameters())
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)  # the other network gets none
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizers[name].step()
        self.optimizers[name].zero_grad(set_to_none=True)

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        current = self.networks["generator"].state_dict()
        for name, value in self.averaged.state_dict().items():
            value.lerp_(current[name], 1 - decay)

    def evaluate(self, folder: RunFolder, losses: dict[str, float]) -> None:
        with torch.no_grad():
            metrics, picture = self.task.evaluate(self.averaged), self.task.picture(self.averaged)
        known = {f"train_{name}": losses[name] for name in ("critic", "generator")}
        folder.record(self.step, {**known, **metrics}, picture)
        log.info("step %d: %s", self.step, ", ".join(f"{k} {v:.4g}" for k, v in metrics.items()))

    def save(self, folder: RunFolder) -> None:
        folder.save_checkpoint(
            {
                "step": self.step,
                "model": {name: network.state_dict() for name, network in self.networks.items()},
                "averaged": self.averaged.state_dict(),
                "optimizer": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
                "torch_rng": torch.get_rng_state(),
            }
        )

    def restore(self, folder: RunFolder) -> None:
        saved = folder.load_checkpoint()
        if saved is None:
            return
        for name, network in self.networks.items():
            fill(network, saved["model"][name], path=folder.checkpoint)
            self.optimizers[name].load_state_dict(saved["optimizer"][name])
        fill(self.averaged, saved["averaged"], path=folder.checkpoint)
        self.step = saved["step"]
        torch.set_rng_state(saved["torch_rng"])
        folder.forget_after(self.step)
        log.info("resumed %s at step %d", folder.checkpoint, self.step)
