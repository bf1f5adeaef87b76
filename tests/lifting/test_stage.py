"""The stage with a fake generator and detector: format, masks, quality, resuming after a kill."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_views import FakeDetector, FakeGenerator, head_points

from facelift.cli import main
from facelift.geometry import intrinsics, project
from facelift.landmarks import mean_head
from facelift.lifting.identity import IdentityDrift
from facelift.lifting.masks import MaskConfig
from facelift.lifting.rig import rig
from facelift.lifting.shards import Shard, load_shard, load_shards, shard_name
from facelift.lifting.stage import LiftConfig, lift
from facelift.onnx_models.lifter import weights_path
from facelift.scale.store import Store

pytest.importorskip("numba")
VIEWS = rig()


def _config(out, **changes):
    config = LiftConfig(out, faces=5, shard_faces=2, workers=1, mask=MaskConfig(enabled=False))
    return replace(config, **changes)


def _lift(out, detector=None, **changes):
    detector = detector or FakeDetector(VIEWS, noise_px=1)
    return lift(_config(out, **changes), generator=FakeGenerator(), detector=detector)


def _same(a, b):
    for name in Shard.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_shards_hold_the_lifted_truth(tmp_path):
    _lift(tmp_path / "out", FakeDetector(VIEWS), first_seed=300)
    shards = load_shards(tmp_path / "out")
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [
        "index.json", "lift-00000.npz", "lift-00001.npz", "lift-00002.npz", "lift.json",
    ]  # fmt: skip
    np.testing.assert_array_equal(shards.seed, np.arange(300, 305))
    truth = np.stack([head_points(seed) for seed in shards.seed])
    np.testing.assert_allclose(shards.truth, truth, atol=1e-7)
    np.testing.assert_allclose(shards.points[:, :96], truth[:, :96], atol=1e-6)
    assert np.isnan(shards.points[:, 96:]).all() and (shards.views_used[:, 96:] == 0).all()
    assert (shards.views_used[:, :96] == 41).all() and shards.accepted.all()
    types = {name: getattr(shards, name).dtype.str for name in Shard.__dataclass_fields__}
    assert types == {
        "seed": "<i8", "points": "<f4", "covariance": "<f4", "residual_px": "<f4", "views_used": "<i2",
        "accepted": "|b1", "truth": "<f4", "detected": "<f4", "drift": "<f4", "again": "|b1",
    }  # fmt: skip
    about = json.loads((tmp_path / "out" / "lift.json").read_text())
    assert about["settings"]["generator"] == "fake" and len(about["settings"]["rig_deg"]) == 41


def test_noise_shows_in_residual_and_covariance(tmp_path):
    _lift(tmp_path / "out", FakeDetector(VIEWS, noise_px=2))
    shards = load_shards(tmp_path / "out")
    np.testing.assert_allclose(np.median(shards.residual_px[:, :96]), 2 * np.sqrt(2), rtol=0.15)
    error = (shards.points - shards.truth)[:, :96]
    normalized = np.einsum("bli,blij,blj->bl", error, np.linalg.inv(shards.covariance[:, :96]), error)
    np.testing.assert_allclose(normalized.mean(), 3, rtol=0.15)


def test_pictures_of_any_size_give_residuals_of_256_px(tmp_path):
    _lift(tmp_path / "a", FakeDetector(VIEWS, noise_px=2), size=256)
    _lift(tmp_path / "b", FakeDetector(VIEWS, noise_px=1), size=128)
    a, b = load_shards(tmp_path / "a"), load_shards(tmp_path / "b")
    np.testing.assert_allclose(a.points, b.points, atol=1e-6)
    np.testing.assert_allclose(a.residual_px, b.residual_px, rtol=1e-3)


def test_second_look_sees_the_tight_box(tmp_path):
    detector = FakeDetector(VIEWS)
    _lift(tmp_path / "out", detector, faces=1)
    first, second = detector.boxes
    for boxes, head in ((first, mean_head()), (second, head_points(0))):
        points = project(np.tile(head, (41, 1, 1)), VIEWS.rotations, VIEWS.translations, intrinsics(256))
        np.testing.assert_allclose(boxes, np.concatenate([points.min(1), points.max(1)], -1), atol=1e-6)
    only = FakeDetector(VIEWS)
    _lift(tmp_path / "once", only, faces=1, second_look=False)
    assert len(only.boxes) == 1


def test_faces_seen_in_few_views_or_noisily_are_rejected(tmp_path):
    _lift(tmp_path / "few", FakeDetector(VIEWS, blind=range(5, 41)))
    _lift(tmp_path / "noisy", FakeDetector(VIEWS, noise_px=20))
    _lift(tmp_path / "none", FakeDetector(VIEWS, blind=range(41)))
    for name in ("few", "noisy", "none"):
        assert not load_shards(tmp_path / name).accepted.any(), name
    assert np.isfinite(load_shards(tmp_path / "few").points[:, :96]).all()
    assert np.isnan(load_shards(tmp_path / "none").points).all()


def test_detector_covariances_take_the_place_of_confidence(tmp_path):
    _lift(tmp_path / "out", FakeDetector(VIEWS, noise_px=1, covariances=True))
    shards = load_shards(tmp_path / "out")
    assert shards.accepted.all()
    np.testing.assert_allclose(np.median(shards.residual_px[:, :96]), np.sqrt(2), rtol=0.15)


def test_a_stopped_run_goes_on_and_ends_as_if_undisturbed(tmp_path):
    _lift(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        _lift(tmp_path / "stopped", FakeDetector(VIEWS, noise_px=1, stop_at=3))
    assert [path.name for path in (tmp_path / "stopped").glob("lift-*")] == ["lift-00000.npz"]
    detector = FakeDetector(VIEWS, noise_px=1)
    _lift(tmp_path / "stopped", detector)
    assert len(detector.boxes) == 2 * 3
    _same(load_shards(tmp_path / "stopped"), load_shards(tmp_path / "whole"))


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from test_stage import FakeDetector, FakeGenerator, VIEWS, _config, Path
from facelift.lifting.stage import lift
if __name__ == "__main__":
    lift(_config(Path(sys.argv[1]), workers=2, faces=8), generator=FakeGenerator(),
         detector=FakeDetector(VIEWS, noise_px=1, delay_s=0.2))
"""


@pytest.mark.slow
def test_a_killed_run_of_two_workers_goes_on(tmp_path):
    """SIGKILL after the first shard: no half-written file, and no worker outlives its parent."""
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, str(script), str(out)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / shard_name(0)).exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    children = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = sorted(out.glob("lift-?????.npz"))
    assert 1 <= len(done) < 4
    for path in done:
        load_shard(path)
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    _lift(out, faces=8)
    _lift(tmp_path / "whole", faces=8)
    _same(load_shards(out), load_shards(tmp_path / "whole"))


def _children(pid):
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if not listed.exists():
        pytest.skip("needs /proc")
    found = [int(child) for child in listed.read_text().split()]
    assert found
    return found


def test_workers_give_what_one_process_gives(tmp_path):
    _lift(tmp_path / "one")
    _lift(tmp_path / "two", workers=2)
    _same(load_shards(tmp_path / "one"), load_shards(tmp_path / "two"))


def test_a_longer_run_keeps_the_shards_of_the_shorter_one(tmp_path):
    _lift(tmp_path / "out", faces=3)
    first = (tmp_path / "out" / shard_name(0)).stat().st_mtime_ns
    _lift(tmp_path / "out", faces=6)
    assert (tmp_path / "out" / shard_name(0)).stat().st_mtime_ns == first
    np.testing.assert_array_equal(load_shards(tmp_path / "out").seed, np.arange(6))


def test_other_settings_in_the_same_folder_are_an_error(tmp_path):
    _lift(tmp_path / "out")
    with pytest.raises(ValueError, match=r"lift\.json.*first_seed: 0 there, 7 now"):
        _lift(tmp_path / "out", first_seed=7)


def test_files_that_are_no_shards(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected shards"):
        load_shards(tmp_path)
    _lift(tmp_path / "out")
    (tmp_path / "out" / shard_name(1)).write_bytes(b"")
    with pytest.raises(ValueError, match=r"lift-00001\.npz: expected a shard"):
        load_shards(tmp_path / "out")


@pytest.mark.parametrize("name", ["faces", "size", "shard_faces"])
def test_numbers_below_one(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name}: expected at least 1, found 0"):
        _config(tmp_path, **{name: 0})


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unknown_detector_is_named(tmp_path, workers):
    with pytest.raises(FileNotFoundError, match="found 'nonsense'"):
        lift(_config(tmp_path / "out", detector="nonsense", workers=workers), generator=FakeGenerator())


class Hollow(FakeGenerator):
    """Some of its seeds cannot be rendered."""

    def __init__(self, bad):
        self.bad = bad

    def render(self, seed, *arguments, **options):
        if seed in self.bad:
            raise ValueError(f"seed {seed}: expected a face, found a hole")
        return super().render(seed, *arguments, **options)


def test_faces_that_cannot_be_rendered_are_named_and_rejected(tmp_path, caplog):
    """Covariances of the others stay; a shard of failures alone is not taken for a fault of its faces."""
    detector = FakeDetector(VIEWS, noise_px=1, covariances=True)
    lift(_config(tmp_path / "out"), generator=Hollow({1}), detector=detector)
    assert "failed: render: seed 1: expected a face, found a hole" in caplog.text
    shards = load_shards(tmp_path / "out")
    assert shards.accepted.tolist() == [True, False, True, True, True] and np.isnan(shards.points[1]).all()
    with pytest.raises(OSError, match=r"2 shards not written, start again: lift-00000\.npz: render: seed 0"):
        lift(_config(tmp_path / "two"), generator=Hollow(range(4)), detector=detector)
    assert load_shards(tmp_path / "two").seed.tolist() == [4]
    with pytest.raises(OSError, match="found 3 in a row that cannot be: render: seed 4"):
        lift(_config(tmp_path / "all"), generator=Hollow(range(5)), detector=detector)


class Short(FakeGenerator):
    """Has no memory for face 1, as long as the file is there."""

    def __init__(self, mark):
        self.mark = mark

    def render(self, seed, *arguments, **options):
        if seed == 1 and self.mark.exists():
            raise MemoryError("no room for a picture")
        return super().render(seed, *arguments, **options)


def test_a_face_that_failed_for_want_of_memory_is_made_by_the_next_run(tmp_path, caplog):
    mark, detector = tmp_path / "full", FakeDetector(VIEWS, noise_px=1)
    mark.touch()
    for _ in range(2):
        lift(_config(tmp_path / "out"), generator=Short(mark), detector=detector)
        shards = load_shards(tmp_path / "out")
        assert shards.accepted.tolist() == [True, False, True, True, True]
        assert shards.again.tolist() == [False, True, False, False, False]
    (tmp_path / "out" / "index.json").unlink()
    mark.unlink()
    detector.boxes.clear()
    lift(_config(tmp_path / "out"), generator=Short(mark), detector=detector)
    assert len(detector.boxes) == 2 * 2  # the two faces of its shard, looked at twice
    lift(_config(tmp_path / "whole"), generator=FakeGenerator(), detector=FakeDetector(VIEWS, noise_px=1))
    _same(load_shards(tmp_path / "out"), load_shards(tmp_path / "whole"))


class Gan(FakeGenerator):
    """Its landmarks are known to the detector alone."""

    def landmarks(self, seed):
        return None


@pytest.fixture
def gan(tmp_path, monkeypatch):
    """Lifts faces of a GAN whose drift grows with the seed, 3 % each, so that 3 of 5 are within the limit."""
    (tmp_path / "gan.pkl").write_bytes(b"weights")

    class Drift(IdentityDrift):
        def __init__(self):
            pass

        def __call__(self, images, boxes, rig):
            return 3.0 * images[0][0, 0, 1]  # the seed, as the fake generator says it

    monkeypatch.setattr("facelift.lifting.stage.IdentityDrift", Drift)

    def run(out):
        lift(
            _config(out, generator=str(tmp_path / "gan.pkl")), generator=Gan(), detector=FakeDetector(VIEWS, noise_px=1)
        )

    return run


def test_the_gate_tells_of_the_faces_that_shards_hold(tmp_path, monkeypatch, gan):
    """Of those of a shard that cannot be written it tells nothing; the next run adds them."""
    import facelift.atomic

    replace_file, full = facelift.atomic.os.replace, {"lift-00001.npz"}

    def rename(partial, path):
        if path.name in full:
            raise OSError(28, "No space left on device")
        replace_file(partial, path)

    monkeypatch.setattr("facelift.atomic.os.replace", rename)
    with pytest.raises(OSError, match="1 shards not written"):
        gan(tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "gate.json").read_text())["faces"]
    assert [(row["seed"], row["drift"], row["accepted"]) for row in rows] == [
        (0, 0, True),
        (1, 3, True),
        (4, 12, False),
    ]
    full.clear()
    gan(tmp_path / "out")
    assert (tmp_path / "out" / "gate.md").read_text().startswith("# 3 of 5 faces accepted")
    assert not list((tmp_path / "out").glob("gate-*"))
    (tmp_path / "out" / "gate.md").write_text("")
    gan(tmp_path / "out")
    assert (tmp_path / "out" / "gate.md").read_text().startswith("# 3 of 5 faces accepted")


def test_the_gate_in_an_object_store(tmp_path, gan):
    pytest.importorskip("fsspec")
    url = f"memory://{tmp_path.name}/gated"
    gan(url)
    gate = json.loads(Store(url).read("gate.json"))
    assert [row["accepted"] for row in gate["faces"]] == [True, True, True, False, False]


def test_a_report_in_an_object_store_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"memory://report: expected a folder on a disk for --report, found a URL"):
        _lift("memory://report", report=True)
    assert not list(tmp_path.iterdir())


def test_a_detector_that_is_cut_off_is_named(tmp_path):
    whole = weights_path("small").read_bytes()
    for name, content in (("cut.onnx", whole[: len(whole) // 2]), ("text.onnx", b"no weights"), ("empty.onnx", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}: expected weights in ONNX format"):
            lift(_config(tmp_path / "out", detector=str(tmp_path / name)), generator=FakeGenerator())
        assert not list((tmp_path / "out").glob("lift-*.npz"))
        (tmp_path / "out" / "lift.json").unlink()


def test_shards_in_an_object_store_are_those_of_a_disk(tmp_path):
    pytest.importorskip("fsspec")
    url = f"memory://{tmp_path.name}/out"
    assert _lift(url, faces=3) == url
    _lift(url)
    _lift(tmp_path / "out")
    _same(load_shards(url), load_shards(tmp_path / "out"))


def test_the_command_shards_lists_and_verifies(tmp_path, capsys):
    out = tmp_path / "out"
    _lift(out)
    assert main(["shards", str(out), "--verify"]) == 0
    assert "3 shards, 5 samples, 0 damaged" in capsys.readouterr().out
    content = bytearray((out / shard_name(1)).read_bytes())
    content[len(content) // 2] ^= 1
    (out / shard_name(1)).write_bytes(content)
    assert main(["shards", str(out), "--verify"]) == 1
    assert "2 shards, 3 samples, 1 damaged" in capsys.readouterr().out
    assert main(["shards", str(tmp_path)]) == 1
    assert "expected one of lift.json, frames.json, views.json, found none" in capsys.readouterr().err


def test_configuration_needs_neither_torch_nor_numba():
    code = "import sys, facelift.lifting.stage; assert not {'torch', 'numba', 'scipy', 'mediapipe'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
