"""Rows of means: both ways to count the faces that a system did not find."""

import numpy as np
import pytest

from facelift.evaluation.tables.cells import both_ways, difference, statistic

PEOPLE = np.array(["a", "a", "b", "c"])


def test_one_row_where_every_face_was_found():
    (row,) = both_ways("s", {"x": np.array([1.0, 2, np.nan, 6])}, PEOPLE, failure=100)
    assert row.system == "s" and row.cells["x"].value == 3 and row.cells["x"].count == 3


def test_a_second_row_counts_faces_not_found_by_the_failure_of_each_column():
    errors = {"x": np.array([1.0, 2, np.nan, np.inf]), "y": np.array([np.nan, np.nan, 4, np.inf])}
    found, failed = both_ways("s", errors, PEOPLE, failure={"x": 90.0, "y": 2.0})
    assert [(cell.value, cell.count) for cell in found.cells.values()] == [(1.5, 2), (4, 1)]
    assert failed.system == "s, not found = failed"
    assert [(cell.value, cell.count) for cell in failed.cells.values()] == [(31, 3), (3, 2)]


def test_a_difference_is_over_the_faces_that_both_found():
    a, b = np.array([1.0, np.inf, 5, np.nan]), np.array([2.0, 1, 3, 1])
    cell = difference(a, b, PEOPLE)
    assert cell.value == pytest.approx(0.5) and cell.count == 2
    assert difference(b, a, PEOPLE).value == pytest.approx(-0.5)


def test_a_statistic_is_drawn_from_the_people_who_are_scored():
    values = np.array([1.0, 2, 4, np.nan])

    def total(drawn: np.ndarray) -> float:
        return float(np.nansum(values[drawn]))

    two = statistic(total, PEOPLE, count=3, scored=np.array([True, True, True, False]))
    assert (two.value, two.count, two.low, two.high) == (7, 3, 6, 8)  # a a, a b or b b
    one = statistic(total, PEOPLE, count=2, scored=np.array([True, True, False, False]))
    assert one.value == 3 and np.isnan(one.low) and np.isnan(one.high)
    nobody = statistic(total, PEOPLE, count=0, scored=np.zeros(4, bool))
    assert nobody.count == 0 and np.isnan([nobody.value, nobody.low, nobody.high]).all()
