"""docs/datasets.md: its table is the registry, and its Python blocks run as they stand."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from facelift.datasets.benchmarks import benchmark_names, find_benchmark
from facelift.datasets.packed import PackedSet

PAGE = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")


def test_the_table_is_the_registry():
    table = PAGE.partition("## The benchmarks")[2].partition("## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    names = []
    for listed, folder, faces, _, normaliser, groups in rows[1:]:
        written = listed.split(", ")
        names += written
        counts = re.findall(r"[\d,]*\d", faces)
        for place, name in enumerate(written):
            benchmark = find_benchmark(name)
            assert folder == ("packed" if benchmark.folder == "." else f"`{benchmark.folder}`"), name
            assert normaliser == ("-" if benchmark.normaliser == "none" else benchmark.normaliser), name
            if benchmark.faces is not None:
                assert int(counts[min(place, len(counts) - 1)].replace(",", "")) == benchmark.faces, name
            if len(benchmark.groups) < 4 and benchmark.normaliser != "none" and "as above" not in groups:
                assert all(group in groups for group in benchmark.groups), name
    assert tuple(names) == benchmark_names()


@pytest.fixture
def data(tmp_path, rng):
    """A face of WFLW and two of 300-W's training part, with a white square about their point 30."""
    root = tmp_path / "data"
    image = np.zeros((200, 200, 3), np.uint8)
    image[95:106, 115:126] = 255
    points = rng.uniform(60, 140, (98, 2))
    points[30] = 120, 100  # pixel centres counted from 0
    (root / "WFLW" / "WFLW_images").mkdir(parents=True)
    cv2.imwrite(str(root / "WFLW" / "WFLW_images" / "a.jpg"), image)
    lists = root / "WFLW" / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    lists.mkdir(parents=True)
    numbers = [*points.ravel().tolist(), 60, 60, 140, 140, 0, 0, 1, 0, 0, 0]
    (lists / "list_98pt_rect_attr_test.txt").write_text(" ".join(map(str, numbers)) + " a.jpg\n")
    for part in ("afw", "helen/trainset", "lfpw/trainset"):
        folder = root / "300W" / part
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "b.png"), image)
        body = "\n".join(f"{x + 1} {y + 1}" for x, y in points[:68])
        (folder / "b.pts").write_text(f"version: 1\nn_points: 68\n{{\n{body}\n}}\n")
    return root


def test_the_blocks_run(data, monkeypatch):
    monkeypatch.chdir(data.parent)
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/datasets.md", "exec"), names)
    packed = PackedSet(data, "mine")
    assert len(packed) == 3 and packed[0].image.shape == (256, 256, 3) and packed[0].identity == "00000"
    rows, columns = np.nonzero(packed[1].image.min(-1) > 128)
    np.testing.assert_allclose(
        packed[1].points[30], [columns.mean() + 0.5, rows.mean() + 0.5], atol=0.6
    )  # a slip of the origin: 1 px
    box = packed[2].box
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, 128)
    labelled = np.ptp(packed[2].points, axis=0).max()
    assert box[2] - box[0] == pytest.approx(labelled, abs=1e-3)
