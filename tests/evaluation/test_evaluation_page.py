"""docs/evaluation.md: its Python blocks run as they stand, and what they write is read and scored."""

import io
import re
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from facelift.cli import main
from facelift.evaluation.predictions import read_predictions

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COUNT, SIDE, LOST = 4, 120, 2
FOUND = [index != LOST for index in range(COUNT)]


@pytest.fixture
def points(tmp_path, rng):
    """Labels of merl_test in the folder data: `COUNT` pictures, the i-th as grey as 50 i."""
    labels = rng.uniform(25, 95, (COUNT, 68, 2))
    names = [f"{index}.jpg" for index in range(COUNT)]
    folder = tmp_path / "data"
    folder.mkdir()
    state, yaw = np.zeros((COUNT, 68), np.uint8), np.array([-70.0, -5, 5, 40])
    np.savez(folder / "merl_test.npz", name=names, pts68=labels, state=state, yaw=yaw, pose_group=["left"] * COUNT)
    with tarfile.open(folder / "merl_test.tar", "w") as tar:
        for index, name in enumerate(names):
            jpeg = cv2.imencode(".jpg", np.full((SIDE, SIDE, 3), 50 * index, np.uint8))[1].tobytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(jpeg)
            tar.addfile(entry, io.BytesIO(jpeg))
    return labels


@pytest.fixture
def written(points, tmp_path, monkeypatch):
    """The names that the first block leaves; its system answers 2 px to the right and finds all but one face."""
    monkeypatch.chdir(tmp_path)

    def my_system(image: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        np.testing.assert_allclose(box, [SIDE / 6, SIDE / 6, SIDE * 5 / 6, SIDE * 5 / 6])
        index = round(image.mean() / 50)
        return points[index] + [2, 0] if FOUND[index] else None

    held = {"my_system": my_system}
    exec(compile(BLOCKS[0], "docs/evaluation.md", "exec"), held)
    return held


def test_the_writer_of_predictions_runs_and_its_file_is_scored(points, written, capsys):
    found = read_predictions("mine.npz")
    assert found.scheme == "ibug68" and found.found.tolist() == FOUND
    np.testing.assert_allclose(found.points_2d[FOUND], points[FOUND] + [2, 0])
    assert main(["evaluate", "score", "mine.npz", "--benchmark", "merl_test", "--data", "data"]) == 0
    printed = capsys.readouterr().out
    nme = np.mean([200 / np.sqrt(np.ptp(face, axis=0).prod()) for face in points[FOUND]])
    (line,) = (line for line in printed.partition("\n\n")[0].splitlines() if line.startswith("mine  "))
    assert f"{nme:.2f} [" in line
    assert "mine: 4 faces, 1 not found." in printed


def test_the_block_of_meshes_runs_after_it(written, rng):
    lost = ~np.array(FOUND)[:, None, None]
    shapes = {key: np.where(lost, np.nan, rng.normal(size=(COUNT, n, 3))) for key, n in (("points_3d", 68), ("v", 9))}
    written |= {"points_3d": shapes["points_3d"], "vertices": shapes["v"], "triangles": np.arange(9).reshape(3, 3)}
    exec(compile(BLOCKS[1], "docs/evaluation.md", "exec"), written)
    found = read_predictions("mine.npz")
    np.testing.assert_array_equal(found.vertices, shapes["v"])
    np.testing.assert_array_equal(found.points_3d, shapes["points_3d"])
    assert found.triangles.shape == (3, 3) and found.found.tolist() == FOUND


def test_no_block_is_left_out():
    assert len(BLOCKS) == 2
