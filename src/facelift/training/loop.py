"""The training loop: one for every task, on Lightning Fabric, resumable to the step."""

import copy
import gc
import logging
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import cv2
import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from facelift.checkpoints.safe_load import fill
from facelift.training.config import LoopConfig
from facelift.training.progress import Progress
from facelift.training.run_folder import RunFolder

log = logging.getLogger(__name__)
Batch = dict[str, Tensor]
FALLS = (0.6, 0.8)
"""Where the rate of `--loop.schedule steps` falls, in shares of all steps."""


@runtime_checkable
class Task(Protocol):
    """What is learned: the loop knows nothing else of it."""

    @property
    def model(self) -> nn.Module:
        """The network, trained in place."""

    def batch(self, step: int, rank: int, world: int) -> Batch:
        """The batch of a step: a pure function of its arguments, so that a resumed run sees what a whole one sees."""

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Named losses; `loss` is their total."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Metrics on held-out samples."""

    def picture(self, model: nn.Module) -> np.ndarray:
        """Predictions on fixed faces, (h, w, 3) uint8."""


def training_device(config: LoopConfig) -> torch.device:
    """Where this process will train: for what must be there before the training starts."""
    if config.accelerator == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def learning_rate(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then a cosine to zero at the last step, or two falls to a tenth of the rate before."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    if config.schedule == "steps":
        return config.lr * 0.1 ** sum(step >= fall * config.steps for fall in FALLS)
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def train(task: Task, config: LoopConfig, description: dict[str, Any]) -> Path:
    """Trains to `config.steps`, from the run folder's checkpoint if there is one; returns the checkpoint's path."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if config.threads:
        torch.set_num_threads(config.threads)
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.nodes,
        precision=cast(Any, config.precision),  # Fabric refuses unknown names itself
    )
    fabric.launch()
    folder = RunFolder(config.run)
    if fabric.is_global_zero:
        folder.claim(description, resumable=("steps", "minutes", "threads", "workers", "devices", "nodes"))
    fabric.barrier()
    state = _State(fabric, task, config)
    state.restore(folder)
    deadline = time.monotonic() + config.minutes * 60 if config.minutes else math.inf
    last_checkpoint = time.monotonic()
    bar = Progress(config.steps, state.step, config.batch * fabric.world_size)
    batches = _prefetch(task, state.step, config, fabric)
    with closing(batches), StopRequest() as stop, bar as progress:
        for batch in batches:
            losses = state.train_step(batch)
            progress.advance(losses)
            if state.step % config.evaluate_every == 0 or state.step == config.steps:
                _evaluate(fabric, task, state, folder, losses)
            if time.monotonic() - last_checkpoint > config.checkpoint_minutes * 60:
                state.save(folder)
                last_checkpoint = time.monotonic()
            if _any_process(fabric, stop.requested or time.monotonic() > deadline):
                break
    state.save(folder)
    return folder.checkpoint


class _State:
    """Model, averaged model, optimiser and step."""

    def __init__(self, fabric: Fabric, task: Task, config: LoopConfig):
        self.fabric, self.task, self.config, self.step = fabric, task, config, 0
        cast(Any, task.model).to(memory_format=torch.channels_last)  # convolutions on CPU: 1.3 times as fast
        optimizer = _optimizer(task.model, config)
        self.averaged = copy.deepcopy(task.model).to(fabric.device).eval()
        self.model, self.optimizer = fabric.setup(task.model, optimizer)
        pairs = [(value, self.model.module.state_dict()[name]) for name, value in self.averaged.state_dict().items()]
        self._lerped = [pair for pair in pairs if pair[0].dtype.is_floating_point]
        self._copied = [pair for pair in pairs if not pair[0].dtype.is_floating_point]

    def train_step(self, batch: Batch) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        self.model.train()
        losses = self.task.losses(self.model, self.fabric.to_device(batch))
        self.fabric.backward(losses["loss"])
        self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.config.clip, error_if_nonfinite=False)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._average()
        # read once all of the step is under way: the only place where the CPU waits for a GPU
        values = dict(zip(losses, torch.stack([value.detach() for value in losses.values()]).tolist(), strict=True))
        if not math.isfinite(values["loss"]):
            raise FloatingPointError(f"step {self.step}: the loss is {values['loss']}, expected a finite number")
        self.step += 1
        return values

    @torch.no_grad()
    def _average(self) -> None:
        done = self.step + 1
        decay = min(self.config.ema, (1 + done) / (10 + done))
        averaged, current = zip(*self._lerped, strict=True)
        get_ema_multi_avg_fn(decay)(averaged, current, done)
        for value, source in self._copied:
            value.copy_(source)

    def save(self, folder: RunFolder) -> None:
        if self.fabric.is_global_zero:
            folder.save_checkpoint(
                {
                    "step": self.step,
                    "model": self.model.module.state_dict(),
                    "averaged": self.averaged.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "torch_rng": torch.get_rng_state(),
                }
            )
        self.fabric.barrier()

    def restore(self, folder: RunFolder) -> None:
        saved = folder.load_checkpoint()
        if saved is None:
            return
        fill(self.model.module, saved["model"], path=folder.checkpoint)
        fill(self.averaged, saved["averaged"], path=folder.checkpoint)
        self.optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["torch_rng"])
        self.step = saved["step"]
        if self.fabric.is_global_zero:
            folder.forget_after(self.step)
        log.info("resumed %s at step %d", folder.checkpoint, self.step)


def _optimizer(model: nn.Module, config: LoopConfig) -> torch.optim.Optimizer:
    """One kernel instead of a dozen small operations a tensor, on CPUs too; vectors do not decay."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, fused=True)
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)


def _any_process(fabric: Fabric, stop: bool) -> bool:
    """Whether one of the processes wants to stop: all must leave the loop at the same step."""
    if fabric.world_size == 1:
        return stop
    wanted = fabric.all_reduce(torch.tensor(float(stop), device=fabric.device), reduce_op="sum")
    return bool(cast(Tensor, wanted) > 0)


def _mean_over_processes(fabric: Fabric, losses: dict[str, float]) -> dict[str, float]:
    own = torch.tensor(list(losses.values()), device=fabric.device)
    return dict(zip(losses, cast(Tensor, fabric.all_reduce(own, reduce_op="mean")).tolist(), strict=True))


class StopRequest:
    """Turns SIGTERM and the first Ctrl-C into a request, so that the step ends and the checkpoint is written."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, _frame: Any) -> None:
        self.requested = True
        signal.signal(number, signal.SIG_DFL)


def _prefetch(
    task: Task, first: int, config: LoopConfig, fabric: Fabric, ahead: int = 3
) -> Generator[Batch, None, None]:
    """Batches of the steps from `first` on, made while the network computes: by processes, else by one thread.

    A thread costs more than its work: the network's thread asks for Python's lock at every operation and waits for it.
    """
    steps, place = range(first, config.steps), (fabric.global_rank, fabric.world_size)
    if config.workers and steps:
        cv2.setNumThreads(1)  # here, not in the workers: OpenCV's pool does not survive a fork, and would hang there
        loader = DataLoader(
            _Steps(task, *place),
            sampler=steps,
            batch_size=None,
            num_workers=config.workers,
            prefetch_factor=ahead,
            generator=torch.Generator(),  # else it draws from the numbers that a resumed run restores
            multiprocessing_context="fork",  # the samples in memory are shared; nothing is sent at the start
            worker_init_fn=_start_worker,
            pin_memory=fabric.device.type == "cuda",
        )
        others = set(multiprocessing.active_children())
        batches = iter(loader)
        workers = set(multiprocessing.active_children()) - others
        try:
            yield from batches
        finally:
            batches._shutdown_workers()  # type: ignore[attr-defined]  # asks them to end, and gives up after seconds
            for worker in workers:  # they ignore what ends others: one that hangs would be waited for at exit, for ever
                worker.kill()
                worker.join()
        return
    with ThreadPoolExecutor(1) as pool:
        make = lambda step: pool.submit(task.batch, step, *place)  # noqa: E731
        waiting = [make(step) for step in steps[:ahead]]
        try:
            for step in steps:
                batch = waiting.pop(0).result()
                if step + ahead < config.steps:
                    waiting.append(make(step + ahead))
                yield batch
        finally:
            for future in waiting:
                future.cancel()


class _Steps(Dataset[Batch]):
    """The batches of one process of a training by step, as a loader wants them."""

    def __init__(self, task: Task, rank: int, world: int):
        self.task, self.place = task, (rank, world)

    def __getitem__(self, step: int) -> Batch:
        return self.task.batch(step, *self.place)


def _start_worker(_number: int) -> None:
    """A scheduler ends all processes at once; the training must still be able to write its checkpoint.

    What the fork copied is never collected here: sessions of ONNX Runtime or MediaPipe would wait, as they are
    destroyed, for threads that did not come along.
    """
    gc.freeze()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _evaluate(fabric: Fabric, task: Task, state: _State, folder: RunFolder, losses: dict[str, float]) -> None:
    losses = _mean_over_processes(fabric, losses)
    if fabric.is_global_zero:
        with torch.no_grad():
            metrics = task.evaluate(state.averaged)
            picture = task.picture(state.averaged)
        folder.record(state.step, {**{f"train_{k}": v for k, v in losses.items()}, **metrics}, picture)
        log.info("step %d: %s", state.step, ", ".join(f"{k} {v:.4g}" for k, v in metrics.items()))
    fabric.barrier()
