"""The cache of rendered heads."""

import numpy as np
import pytest

from facelift.datasets.heads import HeadCache, HeadsConfig, build_heads


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> HeadCache:
    out = tmp_path_factory.mktemp("heads") / "heads.npz"
    return HeadCache(build_heads(HeadsConfig(out=out, generator="procedural", faces=2, views=2, size=64)))


def test_whole_heads_with_their_points(cache):
    """The landmarks lie on the head; the head lies inside the picture and does not fill it."""
    assert len(cache) == 4
    for head in (cache[index] for index in range(4)):
        assert head.image.shape == (64, 64, 3) and head.points.shape == (68, 2)
        column, row = np.floor(head.points).astype(int).T
        assert (head.covered[row, column] > 100).mean() > 0.9
        assert 0.05 < (head.covered > 127).mean() < 0.7
    assert not np.array_equal(cache[0].image, cache[1].image) and not np.array_equal(cache[0].image, cache[2].image)


def test_other_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npz: expected heads rendered by `facelift heads`"):
        HeadCache(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", points=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz: expected heads .* with png, start"):
        HeadCache(tmp_path / "other.npz")
