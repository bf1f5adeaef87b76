"""The stages on a Ray cluster: Ray Data streams the items through pools of actors that keep their models loaded.

Ray Data holds producers back while consumers are behind, so that memory is bounded. Stages that need the same hardware
run in one actor, one after the other: pictures cross from process to process only where the hardware changes.
"""

import logging
import os
import pickle
import traceback
import warnings
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

from facelift.scale.stages import Chain, Passage, Stage, one_thread

if TYPE_CHECKING:
    from facelift.scale.engine import RayConfig

_TRIES = 2
"""An item on which so many actors have died has failed."""


def run_ray(stages: Sequence[Stage], items: Sequence[Any], workers: int, config: "RayConfig") -> Iterator[Passage]:
    """In the order of `items`. Actors and machines that die are replaced by Ray, and their items done again; an item on
    which a second actor dies has failed, and the others go on."""
    import ray

    _connect(config, workers)
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.max_errored_blocks = -1  # Ray leaves out the item of an actor that died, and goes on: see `_in_order`
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0  # of actors with one item each: all at work
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    rows = [{"passage": pickle.dumps(Passage(number, item))} for number, item in enumerate(items)]
    data: ray.data.Dataset = ray.data.from_items(
        rows, override_num_blocks=len(rows)
    )  # an item is a task: they take seconds, not less
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of max_restarts and its like, without a successor in 2.60
        for gpu, part in groupby(stages, key=lambda stage: stage.gpu and config.gpus > 0):
            data = data.map(
                cast(Any, _Actor),
                fn_constructor_args=(ray.cloudpickle.dumps(list(part)),),  # what a script defines goes along
                # one item at a time: what waits in an actor that dies would lose a try with it
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers, max_tasks_in_flight_per_actor=1),
                num_cpus=1,
                num_gpus=config.gpus if gpu else 0,
                max_restarts=-1,
                max_task_retries=_TRIES - 1,
            )
    yield from _in_order((pickle.loads(row["passage"]) for row in data.iter_rows()), len(items))


def _in_order(answers: Iterator[Passage | BaseException], count: int) -> Iterator[Passage]:
    """The passages, with a failed one in the place of each that is missing. Raises what a worker has answered with."""
    expected = 0
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
        yield from map(_died, range(expected, answer.number))
        yield answer
        expected = answer.number + 1
    yield from map(_died, range(expected, count))


def _died(number: int) -> Passage:
    return Passage(number, None, f"{_TRIES} actors died on it, or what they made was lost", again=True)


def cluster_cores(config: "RayConfig") -> int:
    """CPU cores of the cluster."""
    import ray

    _connect(config)
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


class _Actor:
    """A worker of a cluster: the models of its stages, loaded once."""

    def __init__(self, stages: bytes):
        one_thread()
        self._stages = stages
        self._chain: Chain | None = None

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        answer = pickle.loads(row["passage"])
        if isinstance(answer, Passage):
            try:
                self._chain = self._chain or Chain(pickle.loads(self._stages))
                answer = self._chain(answer)
            except Exception as error:  # raised again where the command runs; else Ray would try for ever
                error.add_note("in a worker:\n" + "".join(traceback.format_exception(error)))
                answer = error
        return {"passage": pickle.dumps(answer, protocol=5)}


def _connect(config: "RayConfig", workers: int = 0) -> None:
    """To the running cluster, else starts one here, with a core for each worker."""
    import ray

    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    cores = None if config.address else max(workers, os.cpu_count() or 1)
    quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.WARNING}
    ray.init(address=config.address, num_cpus=cores, **quiet)
