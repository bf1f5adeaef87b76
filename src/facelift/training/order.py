"""Which sample a step sees: a pure function of the step, so that a run resumes exactly."""

import numpy as np


def indices(step: int, *, batch: int, count: int, seed: int, rank: int = 0, world: int = 1) -> np.ndarray:
    """The `batch` sample indices of one process: every epoch is a fresh permutation, shared out over the processes."""
    positions = (step * world + rank) * batch + np.arange(batch)
    epochs = positions // count
    orders = {epoch: np.random.default_rng([seed, int(epoch)]).permutation(count) for epoch in np.unique(epochs)}
    chosen = [orders[epoch][position % count] for epoch, position in zip(epochs, positions, strict=True)]
    return np.array(chosen, np.int64)


def sample_rng(step: int, *, seed: int, rank: int, index: int) -> np.random.Generator:
    """Augmentation's random numbers of one sample of one step."""
    return np.random.default_rng([seed, 1, step, rank, index])
