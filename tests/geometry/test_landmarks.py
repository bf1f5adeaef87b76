"""Landmark schemes: partitions, mirrors, and maps that mean the same point of the face."""

import numpy as np
import pytest

from facelift.landmarks import (
    AFLW21,
    IBUG68,
    SCHEMES,
    WFLW98,
    conversion,
    eye_opening,
    mean_head,
    normals,
    wflw98_of_ibug68,
)

PAIRS = [
    ("wflw98", "ibug68"),
    ("ibug68", "aflw21"),
    ("wflw98", "aflw21"),
    ("lapa106", "wflw98"),
    ("lapa106", "ibug68"),
    ("lapa106", "aflw21"),
]


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_regions_partition_the_scheme(scheme):
    together = np.concatenate(list(scheme.regions.values()))
    assert sorted(together) == list(range(scheme.size))


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_mirror_is_an_involution_that_keeps_regions(scheme):
    assert np.array_equal(scheme.mirror[scheme.mirror], np.arange(scheme.size))
    for indices in scheme.regions.values():
        assert set(scheme.mirror[indices]) == set(indices)


def test_unpaired_landmarks_are_those_on_the_middle_line():
    middles = {s.name: np.flatnonzero(s.mirror == np.arange(s.size)).tolist() for s in SCHEMES.values()}
    assert middles["wflw98"] == [16, 51, 52, 53, 54, 57, 79, 85, 90, 94]
    assert middles["ibug68"] == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    assert middles["aflw21"] == [14, 18, 20]
    assert middles["lapa106"] == [16, 51, 52, 53, 54, 60, 87, 93, 98, 102]


@pytest.mark.parametrize(("left", "right"), [(0, 32), (33, 46), (37, 42), (38, 50), (41, 47), (60, 72), (64, 68)])
def test_wflw98_pairs_of_the_published_order(left, right):
    assert WFLW98.mirror[left] == right


@pytest.mark.parametrize(("left", "right"), [(0, 16), (17, 26), (21, 22), (36, 45), (37, 44), (40, 47), (48, 54)])
def test_ibug68_pairs_of_the_published_order(left, right):
    assert IBUG68.mirror[left] == right


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_lines_use_landmarks_of_one_region(scheme):
    region = {int(i): name for name, indices in scheme.regions.items() for i in indices}
    for line in scheme.lines:
        assert len({region[i] for i in line}) == 1


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_conversion_rows_are_means(source, target):
    matrix = conversion(source, target)
    assert matrix.shape == (SCHEMES[target].size, SCHEMES[source].size)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-15)
    assert (matrix >= 0).all()


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_conversion_commutes_with_the_mirror(source, target):
    """Flip then convert = convert then flip: a mistyped index breaks the symmetry of the face."""
    flipped = conversion(source, target)[SCHEMES[target].mirror][:, SCHEMES[source].mirror]
    np.testing.assert_allclose(flipped, conversion(source, target), atol=1e-15)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_conversion_keeps_regions(source, target):
    for name, indices in SCHEMES[target].regions.items():
        used = np.flatnonzero(conversion(source, target)[indices].any(axis=0))
        assert set(used) <= set(SCHEMES[source].regions[name])


def test_conversion_to_itself_changes_nothing_and_composes():
    assert np.array_equal(conversion("aflw21", "aflw21"), np.eye(21))
    composed = conversion("ibug68", "aflw21") @ conversion("wflw98", "ibug68")
    np.testing.assert_allclose(conversion("wflw98", "aflw21"), composed)


def test_wflw98_to_ibug68_by_the_published_orders():
    """Chin, nose tip, outer and inner eye corners, mouth corners, lip middles."""
    expected = {8: 16, 30: 54, 33: 57, 36: 60, 39: 64, 42: 68, 45: 72, 48: 76, 54: 82, 51: 79, 57: 85, 62: 90}
    index = wflw98_of_ibug68()
    assert {i: int(index[i]) for i in expected} == expected
    np.testing.assert_array_equal(conversion("wflw98", "ibug68") @ np.arange(98), index)


def test_impossible_conversions_are_refused():
    with pytest.raises(ValueError, match="ibug68 do not determine those of wflw98"):
        conversion("ibug68", "wflw98")
    with pytest.raises(ValueError, match=r"expected one of .*'wflw98'.*, found 'wflw99'"):
        conversion("wflw99", "ibug68")


def test_aflw21_eye_centres_are_means_of_the_eye():
    points = np.zeros((68, 2))
    points[36:42] = [[0, 0], [1, 1], [2, 1], [3, 0], [2, -1], [1, -1]]
    np.testing.assert_allclose((conversion("ibug68", "aflw21") @ points)[7], [1.5, 0])
    assert AFLW21.size == 21


def test_human_labels_mirror_onto_themselves(data_dir):
    """The mean of many faces, flipped and renumbered, lies on itself; a wrong pair would not."""
    labels = np.load(data_dir / "w300_train.npz")["pts68"][:300].astype(float)
    labels = labels - labels.mean(axis=1, keepdims=True)
    labels /= labels.std(axis=(1, 2), keepdims=True)
    mean = labels.mean(axis=0)
    flipped = mean[IBUG68.mirror] * [-1, 1]
    assert np.linalg.norm(flipped - mean, axis=1).max() < 0.1 * np.ptp(mean, axis=0).max()


def test_normals_are_unit_symmetric_and_point_out_of_the_face():
    """The jaw's ends look sideways, nose tip and chin forward; mirrored landmarks have mirrored normals."""
    vectors = normals()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[WFLW98.mirror] * [-1, 1, 1], vectors, atol=0.1)
    assert vectors[0, 0] < -0.7 and vectors[32, 0] > 0.7  # image-left is negative x
    assert vectors[54, 2] > 0.7 and vectors[16, 2] > 0.3
    assert (vectors[WFLW98.regions["eyes"], 2] > 0.3).all() and (vectors[WFLW98.regions["pupils"], 2] > 0.7).all()


def test_eye_opening_by_hand():
    """Eyes 4 wide; lids 1 and 3 apart in the left picture half, closed in the other."""
    points = np.zeros((68, 2))
    points[36:42] = [[0, 0], [1, -0.5], [3, -1.5], [4, 0], [3, 1.5], [1, 0.5]]
    points[42:48] = [[10, 0], [11, 0], [13, 0], [14, 0], [13, 0], [11, 0]]
    np.testing.assert_allclose(eye_opening(points, "ibug68"), [(1 + 3) / (2 * 4), 0])
    np.testing.assert_allclose(eye_opening(np.stack([points, 5 * points]), "ibug68")[1], [0.5, 0])
    with pytest.raises(ValueError, match=r"wflw98, ibug68, found 'aflw21'"):
        eye_opening(points[:21], "aflw21")


def test_eye_opening_is_of_both_schemes_and_of_the_side_it_says():
    head = mean_head().copy()
    opening = eye_opening(head)
    assert opening.min() > 0.2 and opening.max() < 0.5
    np.testing.assert_allclose(eye_opening(conversion("wflw98", "ibug68") @ head, "ibug68"), opening)
    upper = [61, 62, 63]
    head[upper] = head[[67, 66, 65]]  # closes the subject's right eye, x < 0
    assert head[upper, 0].max() < 0
    np.testing.assert_allclose(eye_opening(head), [0, opening[1]])
