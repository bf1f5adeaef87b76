"""Numbers of others: under the columns of the measured tables, and never taken for measured ones."""

import numpy as np
import pytest

from facelift.datasets.benchmarks import benchmark_names, find_benchmark
from facelift.datasets.sample import FaceSample
from facelift.evaluation.predictions import Predictions
from facelift.evaluation.tables import published
from facelift.evaluation.tables.entries import Protocol, build_entry
from facelift.evaluation.tables.nme import nme_table
from facelift.evaluation.tables.pose import FAILURE
from facelift.evaluation.truth import gather

BY_YAW = ("yaw 0-30", "yaw 30-60", "yaw 60+", "mean of bins", "all", "not found")


class Listed(list):
    """A list of samples as a benchmark's faces."""

    name = "merl_test"


def by_system(rows, source):
    return {row.system: row.cells for row in rows if row.source == source}


@pytest.mark.parametrize("name", benchmark_names())
def test_every_row_has_cells_under_the_columns_and_a_source(name):
    for rows, columns in ((published.nme_rows(name), BY_YAW), (published.pose_rows(name), tuple(FAILURE))):
        for row in rows:
            assert row.cells and set(row.cells) <= set(columns), row.system
            assert row.source != "measured" and all(value > 0 for value in row.cells.values())
        named = [(row.system, row.source, *row.cells) for row in rows]
        assert len(named) == len(set(named))


def test_peers_on_merl_test():
    peers = by_system(published.nme_rows("merl_test"), "measured earlier, not reproduced here")
    assert len(peers) == len(published.nme_rows("merl_test")) == 5
    expected = {"yaw 0-30": 3.83, "yaw 30-60": 4.94, "yaw 60+": 4.55, "all": 4.21}
    assert peers["3DDFA_V2 mb05"] == expected
    assert peers["PFLD-GhostOne 98"]["all"] == 3.78 and peers["MobileFaceNet"]["yaw 60+"] == 6.93
    assert peers["MediaPipe face mesh"]["not found"] == 2548 - 2411


@pytest.mark.parametrize(("name", "nme"), [("aflw2000", 3.00), ("aflw2000_original", 3.81)])
def test_peers_on_all_of_aflw2000_beside_the_papers(name, nme):
    rows = published.nme_rows(name)
    peers = by_system(rows, published.EARLIER)
    assert peers["3DDFA_V2 mb05"] == {"mean of bins": nme}
    assert peers["MediaPipe face mesh"]["not found"] == 2000 - 1856
    pose = by_system(published.pose_rows(name), published.EARLIER)
    assert pose["3DDFA_V2 mb05"] == {"mean": 3.91} and pose["FSA-Net"] == {"mean": 4.61}
    assert by_system(published.pose_rows(name), published.SYNERGY)["FSA-Net"] == {"mean": 5.07}
    sample = name.replace("aflw2000", "aflw2000_sample")
    assert {row.source for row in published.nme_rows(sample)} == {f"{row.source}, on the full set" for row in rows}


def test_losses_of_facelift_on_multiface():
    rows = by_system(published.nmlc_rows("multiface"), published.FACELIFT)
    assert rows["FaceLift, L1 loss"] == {"full": 2.82} and rows["FaceLift, MSE loss"] == {"full": 3.01}
    assert set(published.REGIONS) == set(rows["FaceLift"])


def test_the_table_of_merl_test_prints_them(rng):
    points, benchmark = rng.uniform(20, 90, (3, 68, 2)), find_benchmark("merl_test")
    names, state, box = ["a", "b", "c"], np.zeros((3, 68), np.int8), np.tile([20.0, 20, 100, 100], (3, 1))
    blank = np.zeros((2, 2, 3), np.uint8)
    samples = [
        FaceSample(names[i], lambda: blank, box[i], points[i], state[i], "ibug68", attributes={"yaw": 40.0 * i})
        for i in range(3)
    ]
    truth = gather(benchmark, Listed(samples))
    protocol = Protocol("box", 0.07)
    found = Predictions(np.array(names), "ibug68", points + 1, np.ones(3, bool))
    table = nme_table(truth, protocol, [build_entry("mine", found, truth, protocol)])
    (line,) = (line for line in table.text().splitlines() if line.startswith("OpenSeeFace"))
    assert line.split()[1:8] == ["3.75", "5.08", "5.48", "-", "4.35", "-", "-"]
    assert line.endswith("published: measured earlier, not reproduced here")
    (line,) = (line for line in table.text().splitlines() if line.startswith("MediaPipe"))
    assert line.split()[3:10] == ["3.57", "4.90", "8.25", "-", "4.47", "-", "137"]
