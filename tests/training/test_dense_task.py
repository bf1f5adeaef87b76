"""Dense landmarks from rendered heads to a file that finds them in photos, on the head built by code."""

import importlib.util
import io
import json
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from facelift.cli import main
from facelift.crops import crop_transform
from facelift.datasets.augment import Augmentation
from facelift.datasets.dense_dad import DenseDAD
from facelift.datasets.dense_views import DenseViews, flipped, head_points
from facelift.datasets.readers.dad3dheads import DAD3DHeads
from facelift.datasets.views import ViewCache, ViewsConfig, build_views, generator_of
from facelift.evaluation.systems import build_system
from facelift.exporting.onnx_file import ExportConfig, export
from facelift.geometry import look_at_rotation, sphere_translation
from facelift.landmarks import IBUG68, conversion
from facelift.losses.dense_likelihood import independent_laplacian_nll
from facelift.models.dense_config import DenseConfig
from facelift.morphable.vertex_sets import VERTICES, load_vertex_sets
from facelift.onnx_models.dense import OnnxDense, is_dense
from facelift.onnx_models.lifter import weights_path
from facelift.predictors.dense_predictor import DensePredictor
from facelift.sources import DAD3DHEADS, noted_sources
from facelift.training.config import DenseTrainConfig, DenseWeights, LoopConfig
from facelift.training.dense_task import DenseTask, predict_network, train_dense

STILL = Augmentation(scale=0, shift=0, roll_deg=0, large_roll=0, occluder=0, colour=0)
SMALL = DenseConfig(encoder="mobile", size=64, points=101, features="grid", predictor="mlp", hidden=32, loss="nlll")


@pytest.fixture(scope="module", autouse=True)
def plain_scenes():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FACELIFT_DATA", raising=False)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Views of four heads, the vertex sets of their mesh, and a packed set of three renders with human-like labels."""
    root = tmp_path_factory.mktemp("dense")
    build_views(ViewsConfig(out=root / "views", faces=4, views=2, generator="procedural", photos=False))
    assert main(["vertices", "procedural-head", "--out", str(root / "sets.npz")]) == 0
    _pack(root)
    return root


def _pack(root) -> None:
    generator = generator_of(root / "views", None, None)
    rotation = look_at_rotation(np.zeros(1), 0.0)
    labels = []
    with tarfile.open(root / "drawn.tar", "w") as tar:
        for seed in range(3):
            view = generator.render(50 + seed, rotation, sphere_translation(rotation), 96)[0]
            data = cv2.imencode(".jpg", view.image[..., ::-1])[1].tobytes()
            info = tarfile.TarInfo(f"{seed}.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            labels.append(conversion("wflw98", "ibug68") @ view.points)
    pts68 = np.array(labels, np.float32)
    pts68[:, 40] = np.nan
    np.savez(root / "drawn.npz", name=[f"{i}.jpg" for i in range(3)], pts68=pts68)


def config(root, run, **changes) -> DenseTrainConfig:
    loop = LoopConfig(run=run, steps=2, batch=4, warmup=1, evaluate_every=2, accelerator="cpu", threads=1)
    given = {"views": root / "views", "vertices": root / "sets.npz", "data": root, "sets": ("drawn",), "dev": 1}
    return DenseTrainConfig(**{"loop": loop, "dev_heads": 1, "network": SMALL, "real_share": 0.5, **given, **changes})


@pytest.fixture(scope="module")
def views(root) -> DenseViews:
    cache, sets = ViewCache(root / "views", labels="exact"), load_vertex_sets(root / "sets.npz")
    heads = head_points(cache, generator_of(root / "views", None, None), sets, 403, root / "heads.npz")
    kept = head_points(cache, None, sets, 403, root / "heads.npz")
    assert np.array_equal(kept.own, heads.own) and np.array_equal(kept.partners, heads.partners)
    return DenseViews(cache, heads, size=64)


def marks(root, points: np.ndarray) -> np.ndarray:
    level = load_vertex_sets(root / "sets.npz")[403]
    return (points[level.landmark_index] * level.landmark_weights[..., None]).sum(1)


def test_points_lie_where_the_renderers_own_landmarks_are(views, root):
    """The landmarks on the mesh of points against the cache's exact ones through the same camera: other code."""
    from facelift.geometry import intrinsics, project
    from facelift.landmarks import wflw98_of_ibug68

    for index in range(len(views)):
        head = views.views.face[index]
        exact = views.views.exact[head, wflw98_of_ibug68()].astype(float)
        place = views.views.rotation[index].astype(float), views.views.translation[index].astype(float)
        wanted = project(exact, *place, intrinsics(1.0))
        error = np.linalg.norm(marks(root, views.points(index)) - wanted, axis=-1)
        assert np.median(error) < 0.01 and error.mean() < 0.015
    assert np.linalg.norm(views.points(0) - views.points(1), axis=-1).mean() > 0.05


@pytest.mark.parametrize("flip", [(True, False), (False, True), (True, True)])
def test_a_flipped_view_shows_each_point_at_its_place(views, root, flip):
    """A reflection renames left and right, two do not: the landmarks say so by their own table of partners."""
    plain = views.plain(2)
    found = views.augmented(2, np.random.default_rng(0), STILL, (float(flip[0]), float(flip[1])))
    steps = -1 if flip[1] else 1, -1 if flip[0] else 1
    assert np.abs(found.image.astype(int) - plain.image[:: steps[0], :: steps[1]].astype(int)).mean() < 2
    own = marks(root, plain.points)
    renamed = own if flip[0] == flip[1] else own[IBUG68.mirror]
    expected = np.where(np.array(flip), 1 - renamed, renamed)
    assert np.linalg.norm(marks(root, found.points) - expected, axis=-1).mean() < 0.004
    if flip[0] != flip[1]:
        unnamed = np.where(np.array(flip), 1 - own, own)
        assert np.linalg.norm(marks(root, found.points) - unnamed, axis=-1).mean() > 0.03


def test_points_move_with_the_picture(views):
    """A bright spot painted at a point is found at the point after turn, scale and shift."""
    index, rng = 1, np.random.default_rng(4)
    moved = Augmentation(scale=0.1, shift=0.03, roll_deg=30, large_roll=0, occluder=0, colour=0)
    point = int(np.argmin(np.linalg.norm(views.points(index) - 0.5, axis=-1)))
    image = np.zeros((128, 128, 3), np.uint8)
    x, y = (128 * views.points(index)[point]).astype(int)
    image[y - 2 : y + 3, x - 2 : x + 3] = 255

    class Painted:
        face, rotation, translation = views.views.face, views.views.rotation, views.views.translation

        def __getitem__(self, _):
            return type("View", (), {"image": image})

    painted = DenseViews(views.views, views.heads, size=64)
    painted.views = Painted()
    found = painted.augmented(index, rng, moved, (0.0, 0.0))
    weight = found.image[..., 0].astype(float)
    middle = np.array([(weight.sum(axis) * (np.arange(64) + 0.5)).sum() for axis in (0, 1)]) / weight.sum() / 64
    assert np.linalg.norm(middle - found.points[point]) < 0.02
    assert np.linalg.norm(found.points[point] - views.points(index)[point]) > 0.01


def test_flipping_by_hand():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    picture, points = flipped(image, np.array([[0.25, 0.1]]), (True, False))
    assert picture[0, 0].tolist() == image[0, 1].tolist() and points.tolist() == [[0.75, 0.1]]
    picture, points = flipped(image, np.array([[0.25, 0.1]]), (False, True))
    assert picture[0, 0].tolist() == image[1, 0].tolist() and points.tolist() == [[0.25, 0.9]]


@pytest.fixture(scope="module")
def task(root, tmp_path_factory) -> DenseTask:
    return DenseTask(config(root, tmp_path_factory.mktemp("task"), network=replace(SMALL, loss="resll")), root)


def test_photos_teach_landmarks_and_renders_all_points(task):
    batch = task.batch(0)
    assert batch["points"].shape == (2, 101, 2) and batch["landmarks"].shape == (2, 68, 2)
    assert (batch["weight"][:, 30] == 1).all()
    terms = task.losses(task.model.train(), batch)
    terms = {**terms, "loss": terms["loss"] + terms["edges"]}
    terms["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in task.model.parameters())  # the flow's too
    task.model.zero_grad()
    task.model.eval()
    with torch.no_grad():
        here = task.losses(task.model, batch)
        there = task.losses(task.model, {**batch, "points": batch["points"] + 0.2})
        nowhere = task.losses(task.model, {**batch, "landmarks": torch.full_like(batch["landmarks"], torch.nan),
                                           "weight": torch.zeros_like(batch["weight"])})  # fmt: skip
    assert there["points"] != here["points"] and there["landmarks"] == here["landmarks"]
    assert nowhere["landmarks"] == 0 and torch.isfinite(nowhere["loss"])


def test_the_loss_is_the_likelihood_of_the_truth(root, tmp_path):
    """Against the formula on the network's own output; and the factor of the edges."""
    weights = DenseWeights(points=2.0, edges=3.0)
    task = DenseTask(config(root, tmp_path, sets=(), real_share=0.0, weights=weights), None)
    batch = task.batch(1)
    task.model.eval()
    with torch.no_grad():
        terms = task.losses(task.model, batch)
        found = task.model.network(batch["image"].float() / 255)
        expected = independent_laplacian_nll(found.points - batch["points"], found.sigma).mean()
    torch.testing.assert_close(terms["points"], expected)
    torch.testing.assert_close(terms["loss"], 2 * expected + 3 * terms["edges"])


def test_batches_are_a_function_of_the_step(task):
    first, again, other = task.batch(5), task.batch(5), task.batch(6)
    assert all(torch.allclose(first[name], again[name], rtol=0, atol=0, equal_nan=True) for name in first)
    assert not torch.equal(first["image"], other["image"])


def test_it_overfits_one_batch(root, tmp_path):
    start = config(root, tmp_path, sets=(), real_share=0.0)
    task = DenseTask(replace(start, loop=replace(start.loop, overfit=4)), None)
    batch, optimizer = task.batch(0), torch.optim.Adam(task.model.parameters(), 2e-3)
    errors = []
    for _ in range(40):
        loss = task.losses(task.model.train(), batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.model.parameters(), 1.0)
        optimizer.step()
        found = task.model.network(batch["image"].float() / 255).points
        errors.append((found - batch["points"]).norm(dim=-1).mean().item())
    assert np.mean(errors[-3:]) < 0.2 * errors[0]


@pytest.fixture(scope="module")
def exported(root, tmp_path_factory):
    """Two steps and then two more, exported."""
    run = tmp_path_factory.mktemp("run")
    first = config(root, run, network=replace(SMALL, loss="resll", predictor="spiral"))
    train_dense(replace(first, loop=replace(first.loop, steps=1)))
    train_dense(first)
    return export(ExportConfig(run=run, out=run / "dense.onnx", name="test-dense")), run


def test_a_run_resumes_and_says_what_it_was_made_of(exported, root):
    run = exported[1]
    assert set(noted_sources(root / "views" / "views.json")) <= set(noted_sources(run / "config.json"))
    rows = (run / "metrics.csv").read_text().splitlines()
    assert {"nme", "heads_mlme_px", "heads_sigma_px"} <= set(rows[0].split(",")) and rows[-1].startswith("2,")
    assert load_vertex_sets(run / VERTICES).head == "procedural-head"


def test_the_file_gives_what_the_network_does_and_knows_its_mesh(exported, root):
    from facelift.exporting.dense import load_dense

    path, run = exported
    network, crops = OnnxDense(path, threads=1), np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), np.uint8)
    answer = network.run(crops)
    found = predict_network(load_dense(run, json.loads((run / "config.json").read_text())), list(crops))
    np.testing.assert_allclose(answer.points, found.points, atol=1e-5)
    np.testing.assert_allclose(answer.sigma, found.sigma, atol=1e-5)
    sets = load_vertex_sets(root / "sets.npz")
    assert np.array_equal(network.mesh["vertices"], sets[101].vertices) and network.head == "procedural-head"
    assert np.array_equal(network.mesh["faces"], sets[101].faces) and is_dense(path)
    with pytest.raises(ValueError, match="expected an exported network of dense landmarks, found task 'lifter'"):
        OnnxDense("small")


def test_points_of_a_photo_are_those_of_its_crop(exported):
    """However large the photo is and wherever the face; sigma and confidence in their own units."""
    predictor = DensePredictor(exported[0], threads=1, refine=False)
    rng = np.random.default_rng(1)
    photo = cv2.resize(rng.integers(0, 255, (20, 20, 3), np.uint8), (200, 200), interpolation=cv2.INTER_CUBIC)
    box = np.array([60.0, 50, 140, 150])
    (face,) = predictor.predict(photo, [box])
    (moved,) = predictor.predict(
        np.pad(photo, ((30, 0), (7, 0), (0, 0)), mode="edge"), [box + np.array([7, 30, 7, 30])]
    )
    np.testing.assert_allclose(moved.points, face.points + np.array([7, 30]), atol=0.05)
    crop = crop_transform(box, size=64)
    side = 64 / crop.scale
    np.testing.assert_allclose(face.confidence, np.clip(1 - face.sigma / side, 0, 1), atol=1e-9)
    assert face.score == 1 and face.landmarks.shape == (68, 2) and predictor.predict(photo, []) == []
    inside = crop.to_crop(face.points) / 64
    assert np.abs(inside - 0.5).max() < 1


def test_evaluations_take_it_for_a_system(exported):
    system = build_system(str(exported[0]))
    image, box = np.random.default_rng(3).integers(0, 255, (90, 80, 3), np.uint8), np.array([20.0, 20, 60, 70])
    (face,) = DensePredictor(exported[0]).predict(image, [box])
    assert system.about["system"] == "test-dense" and system.scheme == "ibug68"
    np.testing.assert_allclose(system.answer(image, box).points_2d, face.landmarks)


def test_a_second_look_is_upright_and_framed(exported, monkeypatch):
    """Points of a face on its side: the crop's content is turned back by just that."""
    predictor = DensePredictor(exported[0], threads=1)
    mesh, size = predictor.network.mesh, predictor.network.input_size
    flat = mesh["mean"][:, :2].astype(float) * [1, -1]
    angle = np.radians(50)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # clockwise, y down
    points = size / 2 + 60 * flat @ turn.T
    closer = predictor._closer(crop_transform(np.array([0.0, 0, 64, 64]), size=size, scale=1.0), points)
    assert np.degrees(closer.roll) == pytest.approx(-50, abs=1)
    box = closer.to_crop(predictor.landmarks(points))
    assert np.ptp(box, axis=0).max() == pytest.approx(size / 1.5, rel=0.01)


def test_predict_writes_points_sigmas_confidences_and_an_overlay(exported, tmp_path, capsys):
    photo, out = tmp_path / "photo.png", tmp_path / "out"
    cv2.imwrite(str(photo), np.random.default_rng(2).integers(0, 255, (90, 80, 3), np.uint8))
    options = ["--model", str(exported[0]), "--boxes", "20", "20", "60", "70", "--out", str(out)]
    assert main(["predict", str(photo), *options, "--draw", "--format", "json", "npz"]) == 0
    document, arrays = json.loads((out / "photo.json").read_text()), np.load(out / "photo.npz")
    (face,) = document["faces"]
    assert len(document["vertices"]) == 101 and document["head"] == "procedural-head"
    for name in ("sigma", "confidence"):
        np.testing.assert_allclose(face[name], arrays[name][0], rtol=1e-5)
    np.testing.assert_allclose(face["points_2d"], arrays["points"][0], rtol=1e-5)
    drawn = cv2.imread(str(out / "photo.faces.jpg"))
    plain = cv2.resize(cv2.imread(str(photo)), drawn.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    changed = np.abs(drawn.astype(int) - plain.astype(int)).sum(-1) > 120
    assert drawn.shape[0] % 90 == 0 and 0.01 < changed.mean() < 0.9
    assert "1 face in 1 file" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--format", "csv"], "expected json or npz of dense landmarks, found csv"),
        (["--surface.depth"], "--surface: expected an M3-LRN"),
        (["--scheme", "ibug68"], "--scheme: expected none for dense landmarks"),
    ],
)
def test_what_it_cannot_write_is_refused(exported, tmp_path, capsys, more, said):
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((40, 40, 3), np.uint8))
    assert main(["predict", str(tmp_path / "photo.png"), "--model", str(exported[0]), *more]) == 1
    assert said in capsys.readouterr().err


def test_a_broken_photo_does_not_stop_the_others(exported, tmp_path, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((90, 80, 3), np.uint8))
    options = ["--model", str(exported[0]), "--boxes", "20", "20", "60", "70", "--out", str(tmp_path / "out")]
    assert main(["predict", str(tmp_path / "broken.jpg"), str(tmp_path / "photo.png"), *options]) == 0
    assert (tmp_path / "out" / "photo.json").exists() and "broken.jpg" in capsys.readouterr().err


def test_settings_that_contradict_each_other_are_refused(root, tmp_path):
    with pytest.raises(ValueError, match="expected either --views or --dad3dheads, found both"):
        config(root, tmp_path, dad3dheads=tmp_path)
    with pytest.raises(ValueError, match="expected --vertices with vertex sets of FLAME"):
        config(root, tmp_path, views=None, vertices=None, dad3dheads=tmp_path)
    with pytest.raises(ValueError, match="--flips: expected 0 to 1"):
        config(root, tmp_path, flips=(0.5, 2.0))
    with pytest.raises(ValueError, match="fewer than the 4 heads"):
        DenseTask(config(root, tmp_path, dev_heads=4), root)
    with pytest.raises(ValueError, match=r"expected one of .* found 300"):
        DenseTask(config(root, tmp_path, sets=(), network=replace(SMALL, points=300)), None)


def test_the_mesh_of_another_head_is_refused(root, tmp_path):
    other = replace(load_vertex_sets(root / "sets.npz"), head="flame5023")
    other.save(tmp_path / "other.npz")
    with pytest.raises(ValueError, match="expected vertex sets of the procedural-head of --views, found flame5023"):
        DenseTask(config(root, tmp_path, sets=(), vertices=tmp_path / "other.npz"), None)


class Photos(DAD3DHeads):
    """Two faces as DAD-3DHeads' reader gives them: vertices of a mesh, in px."""

    def __init__(self, vertices: np.ndarray):
        image = np.random.default_rng(0).integers(0, 255, (120, 100, 3), np.uint8)
        self.face = type("Face", (), {"points": vertices, "image": image})
        self.item = type("Item", (), {"face": self.face})

    def __len__(self) -> int:
        return 2

    def __getitem__(self, _: int):
        return self.item


def test_dad3dheads_gives_the_same_points_of_flames_mesh(root):
    """Another mesh under FLAME's name: its photos' points are its vertices, upright, framed and flipped like views."""
    from facelift.morphable.procedural_head import ProceduralHead

    sets = load_vertex_sets(root / "sets.npz")
    with pytest.raises(ValueError, match="expected those of flame5023, found procedural-head"):
        DenseDAD(Photos(np.zeros((5023, 2))), sets, 101, size=64)
    mesh = ProceduralHead().vertices(np.zeros(5), np.zeros(3))
    photos = Photos(mesh[:, :2].astype(float) * [120, -120] + [50, 60])
    dad = DenseDAD(photos, replace(sets, head="flame5023"), 403, size=64)
    plain = dad.plain(0)
    assert np.ptp(plain.points, axis=0).max() == pytest.approx(1 / 1.5, abs=0.01)
    mirrored = dad.augmented(0, np.random.default_rng(0), STILL, (1.0, 0.0))
    own, other = marks(root, plain.points), marks(root, mirrored.points)
    assert np.abs((other - other.mean(0)) - (own - own.mean(0))).mean() < 0.02  # the mean head is its own mirror image
    assert DAD3DHEADS.free is False


def test_the_benchmark_runs_rows_once_and_tables_them(root, tmp_path):
    path = Path(__file__).parents[2] / "benchmarks" / "dense_tables.py"
    spec = importlib.util.spec_from_file_location("dense_tables", path)
    bench = importlib.util.module_from_spec(spec)
    sys.modules["dense_tables"] = bench
    spec.loader.exec_module(bench)
    budget = bench.Budget(
        *(root / "views", tmp_path / "out", 1, 2, 64, 101, "mobile", weights_path("small"), 1, False),
        ("--vertices", str(root / "sets.npz")),
    )
    runs = []

    def run(arguments: list[str]) -> None:
        runs.append(arguments)
        assert main(arguments) == 0

    rows = [row for row in bench.ROWS if row.name in ("ResLL exp, edges", "our CPU encoder, spiral")]
    table = bench.tabulate(rows, budget, run).read_text()
    bench.tabulate(rows, budget, run)
    assert len(runs) == 2 and table.count("not run") > 50
    assert "--start" in runs[0] and "--start" not in runs[1]  # its own encoder begins with fresh weights
    results = json.loads((tmp_path / "out" / "dense.json").read_text())
    assert 0 < results["ResLL exp, edges"]["metrics"]["mlme_px"] < 200
    line = next(line for line in table.splitlines() if line.startswith("| ResLL exp, edges"))
    assert line.endswith("| 2.13 | - |")
    assert len(bench.ROWS) == 8 + 10 + 6 + 5 and len({row.name for row in bench.ROWS}) == 29
