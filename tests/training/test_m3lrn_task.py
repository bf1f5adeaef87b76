"""M3-LRN from rendered heads to a file that finds meshes in photos, on the head built by code."""

import importlib.util
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from facelift.checkpoints.onnx_weights import read_exported
from facelift.cli import main
from facelift.datasets.morphable_faces import MorphableFaces
from facelift.datasets.morphable_views import MorphableViews, head_coefficients
from facelift.datasets.views import ViewCache, ViewsConfig, build_views, generator_of
from facelift.evaluation.systems import build_system
from facelift.exporting.onnx_file import ExportConfig, export
from facelift.geometry import look_at_rotation, sphere_translation
from facelift.landmarks import IBUG68, conversion
from facelift.losses.least_squares_gan import critic_loss, generator_loss
from facelift.models.m3lrn_config import M3LRNConfig
from facelift.morphable.face_cut import procedural_face
from facelift.morphable.head_model import head_model
from facelift.morphable.linear import load_linear_model, place, split_parameters
from facelift.morphable.procedural_head import ProceduralHead
from facelift.onnx_models.lifter import weights_path
from facelift.onnx_models.m3lrn import OnnxM3LRN
from facelift.onnx_models.texture import OnnxTexture
from facelift.predictors.mesh_predictor import MeshPredictor
from facelift.sources import PROCEDURAL_HEAD, noted_sources
from facelift.training.config import LoopConfig, M3LRNTrainConfig
from facelift.training.gan_config import TextureConfig
from facelift.training.m3lrn_task import CROP, M3LRNTask, rotation_of_pose, train_m3lrn
from facelift.training.texture_task import TextureGan, train_texture
from w300lp_files import write_w300lp


@pytest.fixture(scope="module", autouse=True)
def plain_scenes():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FACELIFT_DATA", raising=False)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Views of six heads, their linear model, and a packed set of four renders with human-like labels."""
    root = tmp_path_factory.mktemp("m3lrn")
    build_views(ViewsConfig(out=root / "views", faces=6, views=2, generator="procedural", photos=False))
    head = ProceduralHead()
    built = head_model(
        head, procedural_face(head), name="procedural", sources=(PROCEDURAL_HEAD,), faces=40, shape=5, expression=3
    )
    built.model.save(root / "model.npz")
    _pack(root)
    return root


def _pack(root) -> None:
    generator = generator_of(root / "views", None, None)
    rotation = look_at_rotation(np.zeros(1), 0.0)
    labels = []
    with tarfile.open(root / "drawn.tar", "w") as tar:
        for seed in range(4):
            view = generator.render(50 + seed, rotation, sphere_translation(rotation), 128)[0]
            data = cv2.imencode(".jpg", view.image[..., ::-1])[1].tobytes()
            info = tarfile.TarInfo(f"{seed}.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            labels.append(conversion("wflw98", "ibug68") @ view.points)
    pts68 = np.array(labels, np.float32)
    pts68[:, 3] = np.nan
    np.savez(root / "drawn.npz", name=[f"{i}.jpg" for i in range(4)], pts68=pts68)


def config(root, run, **changes) -> M3LRNTrainConfig:
    loop = LoopConfig(run=run, steps=2, batch=6, warmup=1, evaluate_every=2, accelerator="cpu", threads=1)
    given = {"views": root / "views", "model": root / "model.npz", "data": root, "sets": ("drawn",), "dev": 1}
    return M3LRNTrainConfig(**{"loop": loop, "dev_heads": 1, **given, **changes})


@pytest.fixture(scope="module")
def views(root) -> MorphableViews:
    cache, model = ViewCache(root / "views", labels="exact"), load_linear_model(root / "model.npz")
    coefficients = head_coefficients(cache, generator_of(root / "views", None, None), model, root / "heads.npz")
    assert np.array_equal(head_coefficients(cache, None, model, root / "heads.npz"), coefficients)  # kept
    return MorphableViews(cache, model, coefficients, size=CROP)


def coarse(views: MorphableViews, parameters: np.ndarray) -> np.ndarray:
    pose, *coefficients = split_parameters(parameters, len(views.model.shape), len(views.model.expression))
    return place(views.model.landmarks(*coefficients), pose)


def test_parameters_place_the_models_landmarks_where_the_heads_own_are(views):
    """But for perspective and for what the components leave out; and no other view's do."""
    found = coarse(views, views.parameters)
    depth, wanted = (points[..., 2] - points[..., 2].mean(1, keepdims=True) for points in (found, views.landmarks))
    assert np.abs(depth - wanted).mean(1).max() < 0.02 * CROP
    assert (views.landmarks[:, 30, 2] < views.landmarks[:, [0, 16], 2].max(1)).all()  # the nose is nearer than an ear
    error = np.linalg.norm((found - views.landmarks)[..., :2], axis=-1).mean(-1)
    assert error.max() < 0.02 * CROP
    assert np.linalg.norm((found - np.roll(views.landmarks, 2, axis=0))[..., :2], axis=-1).mean(-1).min() > 0.03 * CROP
    assert np.ptp(views.landmarks[..., 2], axis=1).min() > 20  # px of depth


def test_a_flipped_picture_has_flipped_landmarks_and_mirrored_parameters(views):
    for index in (0, 3, 7):
        plain = views[index]
        flipped = MorphableFaces(views, views.model, size=CROP).mirrored(plain)
        assert (flipped.image == plain.image[:, ::-1]).all()
        expected = plain.landmarks[IBUG68.mirror] * [-1, 1, 1] + [CROP, 0, 0]
        np.testing.assert_allclose(flipped.landmarks, expected, atol=1e-9)
        own = coarse(views, plain.parameters)[IBUG68.mirror] * [-1, 1, 1] + [CROP, 0, 0]
        np.testing.assert_allclose(coarse(views, flipped.parameters), own, atol=1e-3)


def test_swapped_faces_keep_their_labels_and_change_their_pixels(root, tmp_path):
    config_ = config(root, tmp_path, sets=(), face_swap=1.0, real_share=0.0)
    swapped, plain = (M3LRNTask(c, None) for c in (config_, replace(config_, face_swap=0.0)))
    a, b = swapped.batch(0), plain.batch(0)
    for name in ("landmarks", "parameters"):
        assert torch.equal(a[name], b[name])
    changed = (a["image"] != b["image"]).any(1).float().mean((1, 2))
    assert (changed > 0.05).sum() >= 4 and (changed < 0.9).all()  # the mesh's pixels, not those around it


def test_photos_teach_landmarks_and_renders_parameters_too(root, tmp_path):
    task = M3LRNTask(config(root, tmp_path), root)
    batch = task.batch(0)
    assert len(batch["points"]) == 3 and torch.isnan(batch["parameters"][:3]).all()
    whitened = (batch["parameters"][3:] - task.model.mean) / task.model.std
    assert torch.isfinite(whitened).all() and whitened.abs().max() < 6
    terms = task.losses(task.model, batch)
    assert set(terms) == {"parameters", "landmarks", "coarse", "from_landmarks", "consistency", "loss"}
    terms["loss"].backward()
    assert all(p.grad is not None for p in task.model.parameters())
    moved = {**batch, "points": batch["points"] + 0.1}
    unlabelled = {**batch, "points": torch.full_like(batch["points"], torch.nan)}
    with torch.no_grad():
        task.model.eval()
        here, there, nowhere = (task.losses(task.model, one) for one in (batch, moved, unlabelled))
    assert here["landmarks"] != there["landmarks"] and here["parameters"] == there["parameters"]
    assert torch.isfinite(nowhere["loss"])


def test_its_rotation_is_the_planted_one():
    rotations = torch.as_tensor(look_at_rotation(np.array([-70.0, 0.0, 35.0]), 20.0, 10.0)).float()
    poses = torch.cat([150 * rotations, torch.tensor([[[60.0], [61.0], [0.0]]]).expand(3, 3, 1)], -1)
    torch.testing.assert_close(rotation_of_pose(poses.flatten(1)), rotations, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_its_encoder_starts_as_an_exported_lifters(root, tmp_path):
    network = M3LRNConfig(encoder="mobile_global")
    task = M3LRNTask(config(root, tmp_path, network=network, encoder_start="small"), root)
    image = task.batch(0)["image"].float() / 255
    exported = read_exported(weights_path("small"))
    own = task.model.encoder.grid_encoder
    torch.testing.assert_close(own.fuse.weight.data, exported["encoder.fuse.weight"])
    with torch.no_grad():
        seen = (image - own.mean) / own.std
        weight, bias = (exported[f"encoder.stride8.0.0.weight{part}"] for part in ("", "_bias"))
        folded = torch.nn.functional.conv2d(seen, weight, bias, stride=2, padding=1)
        torch.testing.assert_close(own.eval().stride8[0][:2](seen), folded, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match=r"--encoder-start: expected .* mobile_global, found mobilenetv2"):
        config(root, tmp_path, encoder_start="small")
    with pytest.raises(ValueError, match=r"--network\.released: expected off in a training"):
        config(root, tmp_path, network=M3LRNConfig(released=True))


def test_300w_lp_teaches_parameters_instead_of_renders(root, tmp_path):
    model = load_linear_model(root / "model.npz")
    for photo in range(6):
        for k in range(2):
            write_w300lp(tmp_path / "300W_LP", f"photo{photo}_{k}", model, np.random.default_rng([photo, k]))
    task = M3LRNTask(config(root, tmp_path / "run", views=None, w300lp=tmp_path), root)
    assert (len(task.known.source), len(task.held_out), len(task.taught)) == (12, 2, 10)
    batch = task.batch(0)
    assert torch.isfinite(batch["parameters"][3:]).all() and batch["landmarks"].shape == (3, 68, 3)
    assert task.losses(task.model, batch)["parameters"] > 0
    with pytest.raises(ValueError, match="expected one of --views and --w300lp, found both"):
        config(root, tmp_path, w300lp=tmp_path)


def test_it_overfits_one_batch(root, tmp_path):
    start = config(root, tmp_path, sets=(), real_share=0.0, network=M3LRNConfig())
    loop = replace(start.loop, overfit=4, batch=4, steps=40, lr=2e-3, warmup=5, evaluate_every=40)
    task = M3LRNTask(replace(start, loop=loop, augmentation=replace(start.augmentation, colour=0, occluder=0)), None)
    task.model.dropout.p = 0.0
    optimizer, losses = torch.optim.Adam(task.model.parameters(), 2e-3), []
    batch = task.batch(0)
    for _ in range(40):
        terms = task.losses(task.model.train(), batch)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        losses.append(terms["loss"].item())
    assert losses[-1] < 0.35 * losses[0]


@pytest.fixture(scope="module")
def exported(root, tmp_path_factory):
    """Two steps, exported with its mesh."""
    run = tmp_path_factory.mktemp("run")
    train_m3lrn(config(root, run))
    return export(ExportConfig(run=run, out=run / "m3lrn.onnx", name="test-m3lrn", mesh=root / "model.npz")), run


def test_a_run_says_what_it_was_made_of(exported, root):
    run = exported[1]
    assert set(noted_sources(root / "views" / "views.json")) <= set(noted_sources(run / "config.json"))
    assert json.loads((run / "config.json").read_text())["network"]["shape_size"] == 5
    metrics = (run / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"nme", "coarse_nme", "heads_nme", "heads_pose_deg", "heads_depth_px"} <= set(metrics)


def test_the_file_gives_landmarks_parameters_and_the_mesh_they_make(exported, root):
    network, model = OnnxM3LRN(exported[0], threads=1), load_linear_model(root / "model.npz")
    crops = np.random.default_rng(0).integers(0, 255, (2, CROP, CROP, 3), np.uint8)
    answer = network.run(crops, vertices=True)
    assert answer.landmarks.shape == (2, 68, 3) and network.counts == (5, 3)
    pose, shape, expression = split_parameters(answer.parameters, 5, 3)
    np.testing.assert_allclose(answer.vertices, place(model.vertices(shape, expression), pose), atol=1e-2)
    np.testing.assert_allclose(answer.coarse, answer.vertices[:, model.landmark_vertices], atol=1e-2)
    assert np.array_equal(network.faces, model.faces) and np.allclose(network.mesh["uv"], model.uv)
    assert network.run(crops).vertices is None


def test_a_face_in_a_photo_is_where_its_crop_says(exported):
    """However large the photo is and wherever the face: boxes, landmarks and meshes move together."""
    predictor = MeshPredictor(exported[0], threads=1, refine=False)
    rng = np.random.default_rng(1)
    photo = cv2.resize(rng.integers(0, 255, (20, 20, 3), np.uint8), (200, 200), interpolation=cv2.INTER_CUBIC)
    (face,) = predictor.predict(photo, [[60, 50, 140, 150]], vertices=True)
    (moved,) = predictor.predict(np.pad(photo, ((30, 0), (7, 0), (0, 0)), mode="edge"), [[67, 80, 147, 180]])
    np.testing.assert_allclose(moved.landmarks, face.landmarks + np.array([7, 30, 0]), atol=0.05)
    mesh = load_linear_model_vertices(exported, face)
    np.testing.assert_allclose(face.vertices, mesh, atol=0.02)
    assert face.score == 1 and abs(np.linalg.det(face.rotation) - 1) < 1e-9
    assert predictor.predict(photo, []) == []


def load_linear_model_vertices(exported, face) -> np.ndarray:
    run = json.loads((exported[1] / "config.json").read_text())
    return place(load_linear_model(run["model"]).vertices(face.shape, face.expression), face.pose)


def test_the_benchmark_measures_each_stage_of_the_file(exported, tmp_path):
    path = Path(__file__).parents[2] / "benchmarks" / "bench_m3lrn.py"
    spec = importlib.util.spec_from_file_location("bench_m3lrn", path)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    sessions = bench.parts(exported[0], tmp_path, 1)
    image = np.random.default_rng(0).random((1, 3, CROP, CROP), np.float32)
    first, refined, _ = (session.run(None, {"image": image}) for session in sessions.values())
    assert [len(session.get_outputs()) for session in sessions.values()] == [2, 3, 4]
    np.testing.assert_allclose(first[1], refined[1], atol=1e-3)
    assert all(values.shape == (5, 2) for values in bench.measure(sessions, 1, 5).values())


def test_evaluations_take_it_for_a_system(exported):
    """Its 3D landmarks lie in the frame of the head: turned by its rotation they are those of the picture."""
    system = build_system(str(exported[0]))
    image = np.random.default_rng(3).integers(0, 255, (90, 80, 3), np.uint8)
    answer = system.answer(image, np.array([20.0, 20, 60, 70]))
    assert system.about["system"] == "test-m3lrn" and system.scheme == "ibug68"
    placed = answer.points_3d @ answer.rotation.T
    np.testing.assert_allclose(placed[:, :2] - placed[0, :2], answer.points_2d - answer.points_2d[0], atol=1e-9)


def test_predict_writes_all_that_a_mesh_can_be(exported, tmp_path, capsys):
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.random.default_rng(2).integers(0, 255, (90, 80, 3), np.uint8))
    wanted = ["--surface.mesh", "obj", "ply", "glb", "--surface.depth", "--surface.pncc", "--surface.texture"]
    options = ["--model", str(exported[0]), "--boxes", "20", "20", "60", "70", "--out", str(tmp_path / "out"), "--draw"]
    assert main(["predict", str(photo), *options, *wanted, "--format", "json", "npz"]) == 0
    ends = ["json", "npz", "faces.jpg", "depth.png", "pncc.png"]
    ends += [f"face1.{end}" for end in ("obj", "ply", "glb", "texture.png")]
    assert all((tmp_path / "out" / f"photo.{end}").stat().st_size for end in ends)
    (face,) = json.loads((tmp_path / "out" / "photo.json").read_text())["faces"]
    assert len(face["landmarks"]) == 68 and len(face["shape"]) == 5 and "pitch" in face["euler_deg"]
    assert "1 face in 1 file" in capsys.readouterr().out
    assert main(["predict", str(photo), *options[:2], "--format", "csv"]) == 1
    assert "--format: expected json or npz of an M3-LRN, found csv" in capsys.readouterr().err


@pytest.fixture(scope="module")
def texture_network(root, exported, tmp_path_factory):
    """Two steps of a texture GAN on the renders' textures, exported."""
    run = tmp_path_factory.mktemp("texture")
    loop = LoopConfig(run=run, steps=2, batch=2, warmup=1, evaluate_every=2, accelerator="cpu", threads=1)
    train_texture(TextureConfig(loop=loop, model=exported[0], data=root, sets=("drawn",), dev=1, size=64))
    return export(ExportConfig(run=run, out=run / "texture.onnx", name="test-texture")), run


def test_a_texture_gan_learns_from_what_photos_show(texture_network, root):
    path, run = texture_network
    metrics = (run / "metrics.csv").read_text().splitlines()
    names, last = metrics[0].split(","), metrics[-1].split(",")
    errors = dict(zip(names, last, strict=True))
    assert float(errors["seen_error"]) == pytest.approx(float(errors["template_error"]), rel=0.2)  # two steps old
    crops = np.random.default_rng(0).integers(0, 255, (2, CROP, CROP, 3), np.uint8)
    assert OnnxTexture(path).run(crops).shape == (2, 64, 64, 3)
    assert "drawn" in str(noted_sources(run / "config.json"))


def test_each_side_of_the_gan_learns_from_its_own_term():
    torch.manual_seed(0)
    gan = TextureGan(torch.rand(3, 64, 64))
    found = gan(torch.rand(2, 3, CROP, CROP), torch.rand(2, 3, 64, 64))
    generator_loss(found.judged).backward(retain_graph=True)
    assert all(p.grad is None for p in gan.critic.parameters())
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in gan.generator.parameters())
    gan.zero_grad()
    critic_loss(found.real, found.generated).backward()
    assert all(p.grad is None for p in gan.generator.parameters())
    assert all(p.grad.abs().max() > 0 for p in gan.critic.parameters())


def test_predict_completes_textures_by_the_gan(exported, texture_network, tmp_path, capsys):
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.random.default_rng(2).integers(0, 255, (90, 80, 3), np.uint8))
    given = ["predict", str(photo), "--model", str(exported[0]), "--boxes", "20", "20", "60", "70", "--surface.texture"]
    assert main([*given, "--out", str(tmp_path / "a")]) == 0
    assert main([*given, "--out", str(tmp_path / "b"), "--surface.completion", str(texture_network[0])]) == 0
    own, made = (cv2.imread(str(tmp_path / name / "photo.face1.texture.png")) for name in "ab")
    assert own.shape == made.shape and (own != made).any()
    with pytest.raises(ValueError, match="expected an exported texture GAN, found task 'm3lrn'"):
        OnnxTexture(exported[0])
    capsys.readouterr()
    assert main([*given, "--out", str(tmp_path / "c"), "--surface.completion", str(tmp_path / "none.onnx")]) == 1
    assert "none.onnx: expected a texture GAN in ONNX format, found no such file" in capsys.readouterr().err


def test_heads_and_starts_that_do_not_fit_are_refused(root, tmp_path):
    with pytest.raises(ValueError, match="--dev-heads: expected 0 or more, and fewer than the 6 heads"):
        M3LRNTask(config(root, tmp_path, dev_heads=6), root)
    with pytest.raises(ValueError, match="--dev-heads: expected 1 or more"):
        M3LRNTask(config(root, tmp_path, dev_heads=0, sets=()), None)
    model = load_linear_model(root / "model.npz")
    replace(model, mean=model.mean * 1.2).save(tmp_path / "other.npz")
    network = M3LRNTask(config(root, tmp_path, model=tmp_path / "other.npz"), root).model
    torch.save({"averaged": network.state_dict()}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="expected the linear model that the network learned, found another mean"):
        M3LRNTask(config(root, tmp_path, start=tmp_path / "checkpoint.pt"), root)


def test_wrong_models_are_named(exported, root, tmp_path, capsys):
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.zeros((60, 60, 3), np.uint8))
    assert main(["predict", str(photo), "--surface.depth", "--out", str(tmp_path)]) == 1
    assert "--surface: expected an M3-LRN, found --model small" in capsys.readouterr().err
    with pytest.raises(ValueError, match="expected an exported M3-LRN"):
        OnnxM3LRN("small")
    with pytest.raises(ValueError, match="expected weights with a mesh"):
        OnnxM3LRN(without_mesh(exported[0], tmp_path / "bare.onnx")).run(
            np.zeros((1, CROP, CROP, 3), np.uint8), vertices=True
        )
    model = load_linear_model(root / "model.npz")
    replace(model, mean=model.mean * 1.1).save(tmp_path / "other.npz")
    with pytest.raises(ValueError, match="expected the linear model that the network learned, found another mean"):
        export(ExportConfig(run=exported[1], out=tmp_path / "x.onnx", mesh=tmp_path / "other.npz"))
    assert not (tmp_path / "x.onnx").exists()


def without_mesh(path, out):
    """The file as it is exported without --mesh."""
    graph = onnx.load(path)
    kept = [output for output in graph.graph.output if output.name in ("points", "coarse", "parameters")]
    del graph.graph.output[:]
    graph.graph.output.extend(kept)
    onnx.save(graph, out)
    return out
