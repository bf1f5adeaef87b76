"""Order of samples: every sample once an epoch, shared out over processes, the same for the same step."""

import numpy as np

from facelift.training.order import indices


def test_an_epoch_sees_every_sample_once_over_all_processes():
    parts = [indices(step, batch=4, count=24, seed=1, rank=rank, world=2) for step in range(3) for rank in range(2)]
    assert sorted(np.concatenate(parts)) == list(range(24))


def test_epochs_differ_and_batches_may_span_them():
    first = np.concatenate([indices(step, batch=5, count=12, seed=1) for step in range(5)])
    assert sorted(first[:12]) == sorted(first[12:24]) == list(range(12))
    assert first[:12].tolist() != first[12:24].tolist()


def test_more_processes_see_the_same_samples_as_one_with_a_larger_batch():
    one = indices(7, batch=6, count=50, seed=2)
    two = np.concatenate([indices(7, batch=3, count=50, seed=2, rank=rank, world=2) for rank in range(2)])
    np.testing.assert_array_equal(one, two)
