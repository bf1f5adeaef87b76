"""Which sample a step sees: a pure function of the step, so that a run resumes exactly."""

import numpy as np
from jaxtyping import Int


def indices(
    step: int,
    *,
    batch: int,
    count: int,
    seed: int,
    rank: int = 0,
    world: int = 1,
    shard: Int[np.ndarray, "n"] | None = None,
    window: int = 0,
) -> np.ndarray:
    """The `batch` sample indices of one process: every epoch is a fresh permutation, shared out over the processes.

    With `window`, it goes through the shards in a random order, so many at a time, their samples mixed: a process reads
    from a few shards and then from the next, and none again in the epoch. `shard` says which shard each sample is in.
    """
    positions = (step * world + rank) * batch + np.arange(batch)
    epochs = positions // count
    orders = {int(epoch): _order([seed, int(epoch)], count, shard, window) for epoch in np.unique(epochs)}
    chosen = [orders[int(epoch)][position % count] for epoch, position in zip(epochs, positions, strict=True)]
    return np.array(chosen, np.int64)


def _order(seed: list[int], count: int, shard: np.ndarray | None, window: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if shard is None or not window:
        return rng.permutation(count)
    names, inside = np.unique(shard, return_inverse=True)
    group = rng.permutation(len(names))[inside] // window
    return np.lexsort((rng.random(count), group))


def sample_rng(step: int, *, seed: int, rank: int, index: int) -> np.random.Generator:
    """Augmentation's random numbers of one sample of one step."""
    return np.random.default_rng([seed, 1, step, rank, index])
