"""The chain of sources: every stage names what went in, and what names nothing is not free."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from facelift.lifting.rig import rig
from facelift.lifting.stage import LiftConfig, _describe
from facelift.sources import (
    LAPA,
    MEDIAPIPE,
    OPEN_HEAD,
    PROCEDURAL_HEAD,
    SCENE_FILES,
    WFLW,
    Source,
    exported_sources,
    listed,
    noted_sources,
    packed_source,
    scene_sources,
)
from facelift.training.config import DenseTrainConfig, DetectorConfig, LifterConfig, LoopConfig
from facelift.training.inputs import CHECKPOINTS, KNOWN, NOTES, training_sources

NO_SOURCES = ("data", "assets", "vertices")
"""Folders of what other options name; `assets` are those of the generator that `views` names, `vertices` count in the
meshes of `views` or `dad3dheads`."""


@pytest.fixture
def loop(tmp_path) -> LoopConfig:
    return LoopConfig(run=tmp_path / "run")


def write_note(path: Path, *sources: Source) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"settings": {}, "sources": listed(sources)}))
    return path


def test_scenes_name_the_files_that_are_there_and_photos_are_not_free(tmp_path, monkeypatch):
    monkeypatch.delenv("FACELIFT_DATA", raising=False)
    assert scene_sources("procedural", None) == [PROCEDURAL_HEAD]
    assert scene_sources("morphable", tmp_path) == [PROCEDURAL_HEAD, *OPEN_HEAD]
    (tmp_path / "hdri_128.npz").touch()
    assert all(source.free for source in scene_sources("morphable", tmp_path))
    (tmp_path / "backgrounds.tar").touch()
    for given in (tmp_path, None):
        monkeypatch.setenv("FACELIFT_DATA", str(tmp_path))
        assert [s for s in scene_sources("morphable", given) if not s.free] == [SCENE_FILES["backgrounds.tar"]]
        without = scene_sources("morphable", given, photos=False)
        assert without == [PROCEDURAL_HEAD, *OPEN_HEAD, SCENE_FILES["hdri_128.npz"]]


def test_sources_pass_from_stage_to_stage(tmp_path, loop):
    views, detector = tmp_path / "views", tmp_path / "detector" / "checkpoint.pt"
    write_note(views / "views.json", PROCEDURAL_HEAD)
    config = LifterConfig(loop=loop, views=views, sets=(), dev_heads=1)
    assert training_sources(config) == [PROCEDURAL_HEAD]
    assert training_sources(replace(config, dev_set="merl_train")) == [PROCEDURAL_HEAD]
    write_note(detector.parent / "config.json", packed_source("merl_train"), PROCEDURAL_HEAD)
    started = training_sources(replace(config, detector=detector))
    assert started == [PROCEDURAL_HEAD, packed_source("merl_train")] and not started[1].free
    assert training_sources(replace(config, teacher=detector.parent)) == started
    assert packed_source("w300_train") in training_sources(replace(config, sets=("w300_train",)))
    assert not packed_source("my_own_photos").free


def test_what_does_not_say_is_not_free(tmp_path, loop):
    (tmp_path / "views.json").write_text('{"settings": {}}')  # of an older version
    (source,) = training_sources(LifterConfig(loop=loop, views=tmp_path, sets=(), dev_heads=1))
    assert not source.free and "views.json" in source.name
    assert not noted_sources(tmp_path / "nothing.json")[0].free
    assert exported_sources("mediapipe") == [MEDIAPIPE] and not MEDIAPIPE.free
    (tmp_path / "text.onnx").write_text("no network")
    assert not exported_sources(str(tmp_path / "text.onnx"))[0].free


def test_lifted_labels_carry_their_detectors_sources(tmp_path):
    config = LiftConfig(out=tmp_path, generator="procedural", detector="mediapipe")
    noted = _describe(config, rig(5), None, None)[1]["sources"]
    assert listed([MEDIAPIPE])[0] in noted and listed([PROCEDURAL_HEAD])[0] in noted


@pytest.mark.parametrize("config", [DetectorConfig, LifterConfig, DenseTrainConfig])
def test_every_option_that_names_a_file_is_a_source(config):
    """Or the list of sources would be silent about what a new option brings in."""
    named = {field.name for field in fields(config) if "Path" in str(field.type)}
    assert named - {*KNOWN, *NOTES, *CHECKPOINTS, *NO_SOURCES} == set()
    assert "views" in named


def test_every_training_set_of_a_detector_is_a_source(tmp_path, loop):
    write_note(tmp_path / "views" / "views.json", PROCEDURAL_HEAD)
    views = DetectorConfig(loop=loop, sets=(), views=tmp_path / "views")
    assert training_sources(views) == [PROCEDURAL_HEAD]
    others = replace(views, mesh=tmp_path / "mesh.npz", wflw=tmp_path / "WFLW", lapa=tmp_path / "LaPa")
    assert set(training_sources(others)) == {PROCEDURAL_HEAD, MEDIAPIPE, WFLW, LAPA}


def test_the_data_folder_itself_teaches_nothing(loop):
    config = DetectorConfig(loop=loop, data=Path("photos"), sets=("merl_train",))
    assert training_sources(config) == [packed_source("merl_train")]


def test_the_shipped_lifter_names_what_it_learned_from():
    names = {source.name for source in exported_sources("small")}
    assert {"AFLW photos with MERL-RAV labels", "ICT-FaceKit Light"} <= names
    assert not any(name.startswith("whatever") for name in names)


def test_scenes_are_known_by_the_content_of_their_files(tmp_path):
    """Not by whether there are any, nor by where they lie."""
    from facelift.sources import PHOTOS, scene_files

    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / PHOTOS).write_bytes(content)
        (tmp_path / name / "other.npz").write_bytes(name.encode())
    a, b, c = (scene_files(tmp_path / name) for name in "abc")
    assert a == b != c and set(a) == {PHOTOS}
    assert scene_files(tmp_path / "a", photos=False) == {}
