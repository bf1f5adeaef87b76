"""`--engine local|ray`: where the stages of a pipeline run."""

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from facelift.scale.local import run_here, run_processes
from facelift.scale.stages import Passage, Stage

EngineName = Literal["local", "ray"]


@dataclass(frozen=True)
class RayConfig:
    """The Ray cluster, with --engine ray."""

    address: str | None = None
    """Of a running cluster (auto: the one that this machine belongs to); without it one of this machine alone."""
    gpus: float = 0.0
    """GPUs of each worker that runs networks; 0.25 shares one among four. With GPUs, renderers are workers of their
    own, without."""

    def __post_init__(self) -> None:
        if self.gpus < 0:
            raise ValueError(f"--ray.gpus: expected 0 or more, found {self.gpus}")


@dataclass(frozen=True)
class Engine:
    """Where stages run."""

    name: EngineName = "local"
    workers: int = 0
    """Processes, or actors of each pool; 0 for one a core."""
    ray: RayConfig = field(default_factory=RayConfig)

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(f"--workers: expected 0 (one a core) or more, found {self.workers}")

    def count(self, items: int) -> int:
        """How many workers so many items are shared among."""
        return max(1, min(self.workers or _cores(self), items))

    def run(self, stages: Sequence[Stage], items: Sequence[Any]) -> Generator[Passage, None, None]:
        """What becomes of each item, in their order. Close it to end the workers early."""
        workers = self.count(len(items))
        if not items:
            return
        if self.name == "ray":
            from facelift.scale.ray_engine import run_ray

            yield from run_ray(stages, items, workers, self.ray)
        elif workers == 1:
            yield from run_here(stages, items)
        else:
            yield from run_processes(stages, items, workers)


def _cores(engine: Engine) -> int:
    """Those that this process may use; of a cluster, all."""
    if engine.name == "ray":
        from facelift.scale.ray_engine import cluster_cores

        return cluster_cores(engine.ray)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
