"""The recipes as they are run: their commands parse, and the permissive one meets nothing that is not free."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tyro

from facelift.commands.morphable import MorphableConfig
from facelift.datasets.views import ViewsConfig
from facelift.exporting.onnx_file import ExportConfig
from facelift.lifting.stage import LiftConfig
from facelift.sources import Source, listed, scene_sources
from facelift.training.command import TrainConfig
from facelift.training.config import LifterConfig
from facelift.training.inputs import training_sources

RECIPES = Path(__file__).parents[1] / "recipes"
CONFIGS = {
    "morphable": MorphableConfig,
    "views": ViewsConfig,
    "train": TrainConfig,
    "export": ExportConfig,
    "lift": LiftConfig,
}
RECORD = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["RECORD"], "a") as file:
    file.write(json.dumps([os.environ.get("FACELIFT_DATA"), *sys.argv[1:]]) + "\\n")
"""


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Runs a recipe with tools that only write down how they were called: (FACELIFT_DATA, arguments) each."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("facelift", "python"):
        (tools / name).write_text(RECORD)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("RECORD", str(tmp_path / "record.jsonl"))

    def run(recipe: str, *arguments: str) -> list[tuple[str | None, list[str]]]:
        subprocess.run([RECIPES / recipe, tmp_path / "work", *arguments], check=True)
        lines = (tmp_path / "record.jsonl").read_text().splitlines()
        return [(data, words) for data, *words in map(json.loads, lines)]

    return run


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """A folder with all that the permissive recipe must not touch, and the probes that it may."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("hdri_128.npz", "backgrounds.tar", "merl_test.npz", "merl_train.npz", "merl_train.tar"):
        (folder / name).touch()
    monkeypatch.setenv("FACELIFT_DATA", str(folder))
    return folder


def parsed(words: list[str]):
    return tyro.cli(CONFIGS[words[0]], args=words[1:])


@pytest.mark.parametrize("task", ["detector", "lifter"])
def test_the_permissive_recipe_meets_nothing_that_is_not_free(commands, photos, task):
    called = commands("small-permissive.sh")
    made = [(data, words) for data, words in called if words[0] != "evaluate"]
    assert [words[:2] for _, words in made if words[0] == "train"] == [["train", "detector"], ["train", "lifter"]]
    (views,) = (parsed(words) for data, words in made[:1] if data == str(photos))
    assert views.photos is False and all(data is None for data, _ in made[1:])
    assert all(str(photos) not in " ".join(words) for _, words in made)
    assert {data for data, words in called if words[0] == "evaluate"} == {str(photos)}  # afterwards, to measure
    exports = [parsed(words) for _, words in made if words[0] == "export"]
    assert len(exports) == 2 and all(export.permissive for export in exports)

    scene = scene_sources(views.generator, views.data, photos=views.photos)
    assert any("probes" in source.name for source in scene) and all(source.free for source in scene)
    note(views.out / "views.json", scene)
    note(views.out.parent / "detector" / "config.json", scene)
    (config,) = (parsed(words) for _, words in made if words[:2] == ["train", task])
    sources = training_sources(config)
    assert config.sets == () and config.labels is None and all(source.free for source in sources)
    assert set(scene) <= set(sources)
    assert config.upright and (config.gaze if task == "detector" else config.weights.gaze) > 0


def test_m3lrn_learns_the_head_that_its_views_show(commands, photos):
    called = [words for _, words in commands("m3lrn.sh", "--network.support", "none")]
    assert [words[0] for words in called[:4]] == ["morphable", "views", "train", "export"]
    model, views, training, export = (parsed(words) for words in called[:4])
    assert model.source == "open-head" and training.model == model.out == export.mesh
    assert training.views == views.out and views.generator == "morphable" and export.run == training.loop.run
    assert training.network.support == "none" and training.network.refine and 0 < training.dev_heads < views.faces
    assert [words[:2] for words in called[4:]] == [["evaluate", "predict"], ["evaluate", "score"]]
    assert called[4][3] == str(export.out) and called[4][5] == "merl_test"  # the one set that is there


def note(path: Path, sources: list[Source]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"sources": listed(sources)}))


@pytest.mark.parametrize("photos_there", [False, True])
def test_the_check_runs_the_whole_chain(commands, request, monkeypatch, photos_there):
    monkeypatch.delenv("FACELIFT_ASSETS", raising=False)
    monkeypatch.delenv("FACELIFT_DATA", raising=False)
    if photos_there:
        request.getfixturevalue("photos")
    *called, checked = [words for _, words in commands("check.sh")]
    expected = ["views", "train", "export", "lift", "views", "train", "export"]
    assert [words[0] for words in called] == expected
    lifter = parsed(called[5])
    assert isinstance(lifter, LifterConfig) and lifter.sets == (("merl_train",) if photos_there else ())
    assert lifter.start.is_file() and parsed(called[1]).start.is_file()
    assert lifter.views == parsed(called[4]).out and parsed(called[4]).lift == parsed(called[3]).out
    assert parsed(called[3]).detector == str(parsed(called[2]).out) and parsed(called[6]).run == lifter.loop.run
    assert Path(checked[0]).name == "reached.py" and checked[1] == str(lifter.loop.run)
    bounds = {word.split("=")[0] for word in checked[2:]}
    assert bounds == {"heads_nme", "heads_pose_deg", "train_loss", *(("nme",) if photos_there else ())}


def test_the_next_round_passes_on_what_each_stage_made(commands, tmp_path):
    called = [words for _, words in commands("next-round.sh", "weights.onnx")]
    assert [words[0] for words in called] == [
        "label",
        "mesh",
        "views",
        "train",
        "export",
        "lift",
        "views",
        "train",
        "export",
    ]
    exact, detector, exported, lift, views, lifter, last = (parsed(words) for words in called[2:])
    assert detector.views == exact.out and detector.start == lifter.start == Path("weights.onnx")
    assert exported.run == detector.loop.run == lifter.detector.parent and lift.detector == str(exported.out)
    assert views.lift == lift.out and lifter.views == views.out and last.run == lifter.loop.run
    made = [set(range(config.first_seed, config.first_seed + config.faces)) for config in (exact, lift)]
    assert not made[0] & made[1]  # heads that the detector learned from are not lifted


def test_the_ablations_take_what_the_work_folder_has(commands, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (work / "labels.npz").touch()
    ((_, words),) = commands("ablation.sh", "--dev", "7")
    assert Path(words[0]).name == "ablation.py" and words[-4:] == ["--labels", f"{work}/labels.npz", "--dev", "7"]
    assert "--frames" not in words and words[words.index("--views") + 1] == f"{work}/views"
    (work / "frames").mkdir()
    assert f"{work}/frames" in commands("ablation.sh")[-1][1]


def test_a_missed_bound_fails(tmp_path):
    reached = RECIPES / "reached.py"
    rows = [{"step": 50, "loss": 1.0, "nme": 3.0, "lost": ""}, {"step": 100, "loss": 2.0, "nme": 9.0, "lost": ""}]
    with (tmp_path / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for bounds, code in ((["loss=2", "nme=9.5"], 0), (["loss=2", "nme=8.9"], 1), (["lost=5"], 1), (["other=5"], 1)):
        result = subprocess.run([sys.executable, reached, tmp_path, *bounds], capture_output=True, text=True)
        assert result.returncode == code, bounds
    assert "expected other of at most 5, found nan" in result.stderr


@pytest.fixture
def ablation():
    return load(RECIPES.parent / "benchmarks" / "ablation.py")


def write_cache(folder: Path, heads: int, **more: np.ndarray) -> Path:
    """A cache of heads in one black view each."""
    jpeg = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].ravel()
    arrays = {
        "seed": np.arange(heads),
        "landmarks": np.zeros((heads, 98, 3), np.float32),
        "face": np.arange(heads),
        "rotation": np.tile(np.eye(3), (heads, 1, 1)),
        "translation": np.zeros((heads, 3)),
        "jpeg": np.tile(jpeg, heads),
        "start": np.arange(heads) * len(jpeg),
        "stop": np.arange(1, heads + 1) * len(jpeg),
        "visible": np.ones((heads, 98), bool),
        "covered": np.zeros((heads, 98), bool),
    }
    folder.mkdir()
    np.savez(folder / "views-00000.npz", **arrays, **more)
    return folder


def test_ablations_run_once_each_under_one_budget_and_stand_beside_the_papers(ablation, tmp_path, photos):
    exact = np.zeros((130, 98, 3), np.float32)
    cache = write_cache(tmp_path / "views", 130, exact=exact)
    budget = ablation.Budget(cache, tmp_path / "out", 60, 4, 2, 20, None, None, ("--dev", "3"))
    runs: list[list[str]] = []

    def pretend(arguments: list[str]) -> None:
        """Writes what a training would; the second row dies the first time."""
        runs.append(arguments)
        if len(runs) == 2:
            raise subprocess.CalledProcessError(1, arguments)
        run = Path(arguments[arguments.index("--loop.run") + 1])
        run.mkdir(parents=True)
        (run / "metrics.csv").write_text(f"step,nme,heads_3d_mm\n30,99,99\n60,{len(runs)}.25,7.5\n")

    with pytest.raises(subprocess.CalledProcessError):
        ablation.ablate(ablation.ROWS, budget, pretend)
    table = ablation.ablate(ablation.ROWS, budget, pretend).read_text()
    assert runs[0] not in runs[1:] and runs[1] == runs[2]  # the row that died is run again, the first is not
    rows = {
        cells[1].strip(): [c.strip() for c in cells[2:-1]]
        for cells in (line.split("|") for line in table.split("\n"))
        if len(cells) > 3
    }
    assert rows["multi-view only"] == ["`--real-share 0`", "3.25", *["-"] * 4, "7.50", "-", "0.00", "2.33", "2.98"]
    assert rows["L1"][-2:] == ["-", "2.82"] and rows["100 heads"][-2:] == ["2.12", "2.84"]
    assert "60 steps of 8 samples" in table and "110 heads, 20 held out" in table and "`--dev 3`" in table
    assert "- 1k heads: the cache has 110 heads beside those held out" in table
    assert "- ResNet-50: no --views-224" in table and "no --frames" in table
    for arguments in runs:
        config = parsed(arguments)
        assert (config.loop.steps, config.loop.batch, config.loop.devices) == (60, 4, 2)
        assert config.dev == 3 and config.dev_heads == 20
    assert len({parsed(arguments).loop.run for arguments in runs}) == len(runs) - 1


def test_rows_without_their_data_are_named(ablation, tmp_path):
    cache = ablation.ViewCache(write_cache(tmp_path / "views", 3))
    budget = ablation.Budget(tmp_path / "views", tmp_path, 1, 1, 1, 1, tmp_path, tmp_path, ())
    reasons = {row.name: budget.missing(row, cache) for row in ablation.ROWS}
    assert reasons["exact 3D labels"] == "the cache has no exact landmarks" and not reasons["both"]
    assert not reasons["ResNet-50"] and reasons["100 heads"] == "the cache has 2 heads beside those held out"


def test_the_dense_recipe_is_one_chain(commands, tmp_path):
    """Views, a training on them, and the export of its run, all parsed by the commands' own settings."""
    calls = commands("dense.sh", "--start", "lifter.onnx")
    views, train, exported = (parsed(words) for _, words in calls)
    assert [words[0] for _, words in calls] == ["views", "train", "export"]
    assert train.views == views.out and exported.run == train.loop.run and exported.out == tmp_path / "work/dense.onnx"
    assert train.start == Path("lifter.onnx") and train.network.points == 202 and train.dev_heads == 30
    assert views.faces == 1500 and train.flips == (0.5, 0.0)
