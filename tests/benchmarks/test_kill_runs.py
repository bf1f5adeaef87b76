"""The fault run, in short."""

import pytest


@pytest.mark.slow
def test_killed_jobs_end_with_the_bytes_of_an_undisturbed_one(script, tmp_path):
    kill_runs = script("kill_runs")
    counts = kill_runs.fault_run(tmp_path, kills=5, workers=1, seed=3)
    assert counts["shards"] >= 6 and counts["kills"] >= 5 and counts["different"] == 0
