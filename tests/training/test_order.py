"""Order of samples: every sample once an epoch, shared out over processes, the same for the same step."""

import numpy as np

from facelift.training.order import indices, streamed_indices


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


SHARD = np.repeat(np.arange(7), [5, 3, 8, 1, 6, 4, 9])


def streamed(step, batch=3, rank=0, world=1, window=2):
    return streamed_indices(step, SHARD, window, batch=batch, seed=4, rank=rank, world=world)


def test_streaming_sees_every_sample_once_an_epoch_over_all_ranks_and_workers():
    """Three ranks with two workers each, who take the steps in turn; 36 samples in batches of 3: 4 steps an epoch."""
    for epoch in range(3):
        seen = [
            streamed(step, rank=rank, world=3)
            for rank in range(3)
            for worker in range(2)
            for step in range(4 * epoch + worker, 4 * epoch + 4, 2)
        ]
        assert sorted(np.concatenate(seen)) == list(range(36))


def test_streaming_reads_a_few_shards_at_a_time_and_none_again():
    order = np.concatenate([streamed(step) for step in range(12)])
    groups = [set(SHARD[order[i : i + 1]]) for i in range(36)]
    seen, group = set(), set()
    for (shard,) in groups:
        if shard not in group and len(group) == 2:
            assert not group & seen
            seen, group = seen | group, set()
        assert shard not in seen
        group.add(shard)
    other = np.concatenate([streamed(step) for step in range(12, 24)])
    assert sorted(other) == sorted(order) == list(range(36)) and other.tolist() != order.tolist()
    first = order[: sum(np.isin(SHARD, list(dict.fromkeys(SHARD[order]))[:2]))]
    assert (np.diff(SHARD[first]) != 0).sum() > 1, "the samples of a window's shards are mixed"


def test_streaming_on_more_processes_sees_what_one_sees():
    one = streamed(5, batch=6)
    np.testing.assert_array_equal(one, np.concatenate([streamed(5, rank=rank, world=2) for rank in range(2)]))


def epoch_order(shard, window, seed, epoch):
    """As it was before orders were kept: the whole epoch sorted for every batch."""
    rng = np.random.default_rng([seed, epoch])
    names, inside = np.unique(shard, return_inverse=True)
    group = rng.permutation(len(names))[inside] // window
    return np.lexsort((rng.random(len(shard)), group))


def test_kept_orders_are_those_of_the_array_that_is_given():
    """Also where the caller writes into it, and after many other orders."""
    shard = SHARD.copy()
    for window in (1, 2, *range(3, 20), 1):
        for _ in range(2):
            expected = np.concatenate([epoch_order(shard, window, 4, epoch) for epoch in (0, 1)])
            found = [streamed_indices(step, shard, window, batch=8, seed=4) for step in range(9)]
            np.testing.assert_array_equal(np.concatenate(found), expected)
            shard[:] = np.roll(shard, 5)
    for seed in (1, 2, 1):
        expected = np.concatenate([np.random.default_rng([seed, epoch]).permutation(12) for epoch in (0, 1)])
        found = np.concatenate([indices(step, batch=8, count=12, seed=seed) for step in range(3)])
        np.testing.assert_array_equal(found, expected)


def test_an_epoch_is_ordered_once_not_once_a_batch(monkeypatch):
    calls = []
    lexsort = np.lexsort
    monkeypatch.setattr(np, "lexsort", lambda keys: calls.append(1) or lexsort(keys))
    shard = np.repeat(np.arange(11), 7)
    for step in range(11):
        streamed_indices(step, shard.copy(), 3, batch=7, seed=99)
    assert len(calls) == 1
