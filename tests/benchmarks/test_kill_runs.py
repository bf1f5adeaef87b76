"""The fault run, in short."""

import pytest

from facelift.labelling.stage import FramesConfig, label_frames


@pytest.mark.slow
def test_killed_jobs_end_with_the_bytes_of_an_undisturbed_one(script, tmp_path):
    kill_runs = script("kill_runs")
    counts = kill_runs.fault_run(tmp_path, kills=5, workers=1, seed=3)
    assert counts["shards"] >= 6 and counts["kills"] >= 5 and counts["different"] == 0


@pytest.mark.slow
def test_ray_writes_the_bytes_that_one_process_writes(script, tmp_path):
    pytest.importorskip("ray")
    kill_runs = script("kill_runs")
    kill_runs.make_photos(tmp_path / "photos", count=5)
    for name, engine, workers in (("here", "local", 1), ("ray", "ray", 2)):
        where = {"out": tmp_path / name, "engine": engine, "workers": workers}
        label_frames(FramesConfig((str(tmp_path / "photos"),), **where, shard_pictures=3))
    assert kill_runs.digests(tmp_path / "here") == kill_runs.digests(tmp_path / "ray")
    assert len(kill_runs.digests(tmp_path / "ray")) == 3
