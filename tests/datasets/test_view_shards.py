"""Shards of views: what is written is read, from disks and object stores, by several processes, each view once."""

import uuid
from dataclasses import replace

import cv2
import numpy as np
import pytest

from facelift.datasets.view_shards import EncodedView, RenderedFace, load_shard, shard_bytes, shard_name, stored_seeds
from facelift.datasets.views import ViewCache
from facelift.scale.store import Store

FACES, VIEWS = (3, 0, 2, 4), 5
"""Faces of each shard."""
GONE = 101
"""A face that could not be rendered."""


def make_face(seed):
    rng = np.random.default_rng(seed)
    landmarks = rng.normal(size=(98, 3)).astype(np.float32)
    landmarks[96:] = np.nan
    views = []
    for number in range(VIEWS):
        level = np.full((16, 16, 3), 10 * (seed % 20) + 2 * number, np.uint8)
        jpeg = cv2.imencode(".png", level)[1].tobytes()  # without loss, so that a level tells the view
        views.append(EncodedView(jpeg, rng.normal(size=(3, 3)), rng.normal(size=3), rng.random(98) > 0.5, np.zeros(98)))
    return RenderedFace(seed, landmarks, np.full((98, 3), seed, np.float32), views)


def write(place):
    store, seed = Store(place), 100
    for index, count in enumerate(FACES):
        faces = [make_face(seed + i) for i in range(count)]
        seed += count
        faces = [replace(face, views=(), error="a hole") if face.seed == GONE else face for face in faces]
        store.write(shard_name(index), shard_bytes(faces))
    return place


@pytest.fixture(params=["disk", "memory"])
def place(request, tmp_path, monkeypatch):
    if request.param == "disk":
        return write(tmp_path)
    pytest.importorskip("fsspec")
    monkeypatch.setenv("FACELIFT_CACHE", str(tmp_path / "cache"))
    return write(f"memory://{uuid.uuid4().hex}")


def level(view):
    return int(view.image[0, 0, 0])


def test_what_is_written_is_read(place):
    cache = ViewCache(place)
    seeds = [seed for seed in range(100, 109) if seed != GONE]
    assert cache.seeds.tolist() == seeds and len(cache) == 8 * VIEWS and cache.size == 16
    assert cache.shard.tolist() == [0] * 2 * VIEWS + [2] * 2 * VIEWS + [3] * 4 * VIEWS
    for row in (0, 9, 10, 39):
        face, number = make_face(seeds[row // VIEWS]), row % VIEWS
        view, stored = cache[row], face.views[row % VIEWS]
        assert level(view) == 10 * (face.seed % 20) + 2 * number and cache.face[row] == row // VIEWS
        np.testing.assert_array_equal(view.landmarks, face.landmarks)
        np.testing.assert_array_equal(view.rotation, stored.rotation.astype(np.float32))
        np.testing.assert_array_equal(view.visible, stored.visible)
    np.testing.assert_array_equal(ViewCache(place, labels="exact").landmarks[:, 0, 0], seeds)
    store = Store(place)
    assert stored_seeds(store.on_disk(shard_name(0))) == [100, GONE, 102]
    assert len(load_shard(store.on_disk(shard_name(1))).seed) == 0


@pytest.mark.slow
def test_ranks_and_workers_stream_every_view_once_an_epoch(place):
    """Two ranks with two loader processes each, in batches of 4: 5 steps an epoch, of 40 views."""
    torch = pytest.importorskip("torch")
    from facelift.training.order import streamed_indices

    cache = ViewCache(place)

    class Steps(torch.utils.data.Dataset):
        def __init__(self, rank):
            self.rank = rank

        def __getitem__(self, step):
            rows = streamed_indices(step, cache.shard, 1, batch=4, seed=0, rank=self.rank, world=2)
            return [level(cache[int(row)]) for row in rows], cache.shard[rows].tolist()

    options = {"batch_size": None, "num_workers": 2, "multiprocessing_context": "fork"}
    epochs = [[], []]
    for rank in range(2):
        for step, (levels, _) in enumerate(torch.utils.data.DataLoader(Steps(rank), sampler=range(10), **options)):
            epochs[step // 5] += levels
    everything = sorted(level(cache[row]) for row in range(len(cache)))
    assert len(set(everything)) == 40
    assert sorted(epochs[0]) == sorted(epochs[1]) == everything
