"""SynergyNet's file on synthetic copies: exact names and shapes, the released formulas in float64, what is refused."""

import numpy as np
import pytest
import torch

from facelift.checkpoints.released_frame import parameters_from_released
from facelift.checkpoints.synergynet import load_synergynet
from facelift.exporting.onnx_file import ExportConfig, export
from facelift.models.mobilenetv2 import MobileNetV2Encoder
from facelift.onnx_models.m3lrn import OnnxM3LRN
from published_names import synergynet_shapes

GAIN = {"I2P": 2.0, "forwardDirection": 1.0, "reverseDirection": 1.0}


def random_state(vertices: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random everywhere, at sizes that let a picture through to landmarks inside the crop."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in synergynet_shapes(vertices=vertices).items():
        draw = torch.randn(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            draw = torch.tensor(5)
        elif name.endswith("running_var") or (".bn" in name and name.endswith("weight")):
            draw = 0.5 + torch.rand(shape, generator=generator)
        elif draw.ndim > 1 and name.split(".")[0] in GAIN:
            gain = 20 if "classifier" in name else GAIN[name.split(".")[0]]
            draw = draw * (gain / draw[0].numel()) ** 0.5
        elif name.startswith(("u", "w_")):
            draw = draw * {"u": 1e5, "w_shp": 2e3, "w_exp": 3e3}[name.removesuffix("_base")]
        elif draw.ndim and "param" not in name:
            draw = 0.2 * draw
        state[name] = draw
    pose = torch.tensor([[4e-4, 0, 0, 60], [0, 4e-4, 0, 60], [0, 0, 4e-4, 0]])
    state["param_mean"] = torch.cat([pose.flatten(), 0.3 * state["param_mean"][12:]])
    state["param_std"] = 0.5 + state["param_std"].abs()
    state["param_std"][:12] *= torch.tensor([1e-5, 1e-5, 1e-5, 3]).repeat(3)
    return state


def write(path, state: dict[str, torch.Tensor]) -> None:
    torch.save({"epoch": 80, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, path)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return random_state(vertices=100)


def test_its_file_becomes_one_of_ours(state, loaded, tmp_path):
    """The exported network says what the loaded one does, and answers for photos of any size."""
    large = dict(state)  # as in the released file: coefficients of 1e5, offsets as much smaller
    large["param_std"] = torch.cat([state["param_std"][:12], 5e5 * state["param_std"][12:52], state["param_std"][52:]])
    large["param_mean"] = torch.cat(
        [state["param_mean"][:12], 5e5 * state["param_mean"][12:52], state["param_mean"][52:]]
    )
    large |= {name: state[name] / 5e5 for name in ("w_shp", "w_shp_base")}
    write(tmp_path / "best.pth.tar", large)
    network = OnnxM3LRN(export(ExportConfig(run=tmp_path / "best.pth.tar", out=tmp_path / "synergy.onnx")), threads=1)
    crops = np.random.default_rng(0).integers(0, 255, (2, 120, 120, 3), np.uint8)
    with torch.no_grad():
        expected = loaded.network(torch.as_tensor(crops).permute(0, 3, 1, 2) / 255, support=False)
    found = network.run(crops)
    np.testing.assert_allclose(found.landmarks, expected.landmarks.numpy(), atol=1e-3)
    scale = np.repeat([5e5, 1], [40, 10])
    np.testing.assert_allclose(
        found.parameters[:, 12:] / scale, expected.parameters.numpy()[:, 12:], rtol=1e-3, atol=1e-3
    )
    assert network.counts == (40, 10) and "best.pth.tar" in network.metadata["sources"]
    with pytest.raises(ValueError, match="expected sources that are free for any use"):
        export(ExportConfig(run=tmp_path / "best.pth.tar", out=tmp_path / "free.onnx", permissive=True))


@pytest.fixture(scope="module")
def loaded(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("synergynet") / "best.pth.tar"
    write(path, state)
    return load_synergynet(path)


def points_in_their_crop(state, parameters: np.ndarray, suffix: str) -> np.ndarray:
    """(n, 3): P reshape(u + Ws a + We b, (3, -1), order F) + t, then y = 120 + 1 - y, of one face, in float64."""
    u, shape, expression = (state[f"{name}{suffix}"].numpy().astype(float) for name in ("u", "w_shp", "w_exp"))
    pose = parameters[:12].reshape(3, 4)
    vertices = u + shape @ parameters[12:52, None] + expression @ parameters[52:62, None]
    points = pose[:, :3] @ vertices.reshape(3, -1, order="F") + pose[:, 3:]
    points[1] = 120 + 1 - points[1]
    return points.T


def in_our_crop(points: np.ndarray) -> np.ndarray:
    """px that count from 1 at the first centre, z towards the camera -> centres at a half, z away from it."""
    return np.stack([points[:, 0] - 1 + 0.5, points[:, 1] - 1 + 0.5, -points[:, 2]], axis=-1)


def layer(state, module: str, number: str, x: np.ndarray) -> np.ndarray:
    """(n, channels): relu(bn(conv(x))) of the released point networks, in evaluation, in float64."""
    value = lambda name: state[f"{module}.{name}"].numpy().astype(float)  # noqa: E731
    y = x @ value(f"conv{number}.weight")[..., 0].T + value(f"conv{number}.bias")
    y = (y - value(f"bn{number}.running_mean")) / np.sqrt(value(f"bn{number}.running_var") + 1e-5)
    return np.maximum(y * value(f"bn{number}.weight") + value(f"bn{number}.bias"), 0)


def picture_code(state, image: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(z, whitened) of one face, by the encoder alone on BGR, in float64."""
    encoder = MobileNetV2Encoder().double().eval()
    prefix = "I2P.backbone."
    encoder.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(f"{prefix}features")})
    with torch.no_grad():
        z = encoder(image.double().flip(1)).mean(1)[0].numpy()
    heads = [f"{prefix}classifier_{name}.1" for name in ("ori", "shape", "exp")]
    whitened = [state[f"{h}.weight"].numpy().astype(float) @ z + state[f"{h}.bias"].numpy() for h in heads]
    return z, np.concatenate(whitened)


def test_output_is_the_released_code_s_in_our_frame(state, loaded):
    """Every formula of the whole path but the encoder's, written out once more, in float64."""
    image = torch.rand(1, 3, 120, 120, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        found = loaded.network(image)
    z, whitened = picture_code(state, image)
    assert whitened.std() > 0.5
    np.testing.assert_allclose(found.whitened[0].numpy(), whitened, atol=1e-4)
    parameters = state["param_mean"].numpy() + state["param_std"].numpy().astype(float) * whitened
    coarse = points_in_their_crop(state, parameters, "_base")
    np.testing.assert_allclose(found.coarse[0].numpy(), in_our_crop(coarse), atol=2e-3)

    local = layer(state, "forwardDirection", "2", layer(state, "forwardDirection", "1", coarse))
    holistic = local
    for number in "345":
        holistic = layer(state, "forwardDirection", number, holistic)
    whole = np.concatenate([holistic.max(0), z, whitened[12:52], whitened[52:62]])
    residual = np.concatenate([local, np.tile(whole, (68, 1))], axis=1)
    for number in "6789":
        residual = layer(state, "forwardDirection", number, residual)
    assert residual.min() == 0 and residual.max() > 0.1
    refined = coarse + 0.05 * residual
    np.testing.assert_allclose(found.landmarks[0].numpy(), in_our_crop(refined), atol=2e-3)

    features = refined
    for number in "12345":
        features = layer(state, "reverseDirection", number, features)
    heads = [layer(state, "reverseDirection", f"6_{k}", features.max(0)[None])[0] for k in (1, 2, 3)]
    np.testing.assert_allclose(found.from_landmarks[0].numpy(), np.concatenate(heads), atol=2e-3)


def test_dense_model_gives_the_formula_s_vertices(state, loaded):
    rng = np.random.default_rng(0)
    parameters = state["param_mean"].numpy() + state["param_std"].numpy().astype(float) * rng.standard_normal(62)
    ours = parameters_from_released(parameters)
    pose, shape, expression = ours[:12].reshape(3, 4), ours[12:52], ours[52:]
    vertices = loaded.mean + np.tensordot(shape, loaded.shape, 1) + np.tensordot(expression, loaded.expression, 1)
    expected = in_our_crop(points_in_their_crop(state, parameters, ""))
    np.testing.assert_allclose(vertices @ pose[:, :3].T + pose[:, 3], expected, atol=1e-3)
    assert loaded.mean.shape == (100, 3) and loaded.shape.shape == (40, 100, 3)


def test_frame_changes_alike_for_arrays_and_tensors(rng):
    """By hand: x - 0.5, 120.5 - y, -z."""
    parameters = rng.standard_normal((2, 3, 62))
    found = parameters_from_released(parameters)
    pose, v = parameters[1, 2, :12].reshape(3, 4), np.array([3.0, -2.0, 5.0, 1.0])
    x, y, z = pose @ v
    np.testing.assert_allclose(found[1, 2, :12].reshape(3, 4) @ v, [x - 0.5, 120.5 - y, -z], atol=1e-12)
    assert np.array_equal(found[..., 12:], parameters[..., 12:])
    assert np.array_equal(parameters_from_released(torch.tensor(parameters)).numpy(), found)


def test_network_is_ready_for_inference(loaded):
    assert not loaded.network.training and loaded.network.config.released
    image = torch.rand(3, 3, 120, 120)
    with torch.no_grad():
        together, alone = loaded.network(image, support=False), loaded.network(image[1:2], support=False)
    torch.testing.assert_close(together.landmarks[1:2], alone.landmarks, atol=1e-3, rtol=0)
    torch.testing.assert_close(loaded.network.dewhiten(alone.whitened), alone.parameters)


def test_the_published_names_and_shapes_fill_the_network(tmp_path):
    """The whole file, 53215 vertices in float32; tensors of the network one number each, stored once."""
    shapes = synergynet_shapes()
    dense = {name for name in shapes if name.split(".")[0] in ("u", "w_shp", "w_exp")}
    state = {name: torch.tensor(float(i)).expand(shape) for i, (name, shape) in enumerate(shapes.items())}
    state |= {name: torch.arange(float(np.prod(shapes[name]))).view(shapes[name]) for name in dense}
    state["param_mean"], state["param_std"] = torch.arange(102.0), torch.arange(102.0) + 1  # a texture's behind ours
    write(tmp_path / "best.pth.tar", state)
    loaded = load_synergynet(tmp_path / "best.pth.tar")
    assert (len(shapes), loaded.mean.shape) == (312 + 6 + 9 * 7 + 8 * 7 + 8, (53215, 3))
    own = loaded.network.state_dict()
    assert len(own) == len(shapes) - 3
    for ours, theirs in {
        "encoder.features.17.conv.1.1.running_var": "I2P.backbone.features.17.conv.1.1.running_var",
        "heads.expression.weight": "I2P.backbone.classifier_exp.1.weight",
        "refinement.points.layers.4.1.bias": "forwardDirection.bn5.bias",
        "refinement.mlp.0.0.weight": "forwardDirection.conv6.weight",
        "refinement.out.0.bias": "forwardDirection.conv9.bias",
        "support.points.layers.0.0.weight": "reverseDirection.conv1.weight",
        "support.heads.pose.1.weight": "reverseDirection.bn6_1.weight",
        "support.heads.expression.0.weight": "reverseDirection.conv6_3.weight",
    }.items():
        assert own[ours].shape == shapes[theirs] and (own[ours] == state[theirs].flatten()[0]).all()
    assert torch.equal(own["std"], torch.arange(62.0) + 1)
    assert loaded.shape[7, 53214].tolist() == [40 * (3 * 53214 + axis) + 7 for axis in range(3)]
    assert loaded.expression[9, 2].tolist() == [10 * (6 + axis) + 9 for axis in range(3)]


def test_other_numbers_of_coefficients_are_taken_from_the_file(tmp_path):
    """30 + 8: the heads and the refinement's input must follow."""
    state = random_state(vertices=70)
    for name, size in (("shp", 30), ("exp", 8)):
        for suffix in ("", "_base"):
            state[f"w_{name}{suffix}"] = state[f"w_{name}{suffix}"][:, :size]
    state["forwardDirection.conv6.weight"] = state["forwardDirection.conv6.weight"][:, : 2418 - 12]
    for module, kind, size in (("shape", 2, 30), ("exp", 3, 8)):
        heads = [
            f"I2P.backbone.classifier_{module}.1",
            f"reverseDirection.conv6_{kind}",
            f"reverseDirection.bn6_{kind}",
        ]
        for name in [n for n in state if n.startswith(tuple(heads)) and state[n].ndim]:
            state[name] = state[name][:size]
    write(tmp_path / "other.pth.tar", state)
    loaded = load_synergynet(tmp_path / "other.pth.tar")
    assert loaded.network(torch.rand(1, 3, 120, 120)).parameters.shape == (1, 50)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("forwardDirection.bn9.bias"), "missing: forwardDirection.bn9.bias; unknown: none"),
        (
            lambda s: s.pop("I2P.backbone.features.3.conv.2.weight"),
            r"missing: I2P\.backbone\.features\.3\.conv\.2\.weight",
        ),
        (lambda s: s.update(surprise=torch.zeros(1)), "missing: none; unknown: surprise"),
        (
            lambda s: s.update({"reverseDirection.conv6_2.weight": torch.zeros(41, 1024, 1)}),
            r"reverseDirection\.conv6_2\.weight of shape \(40, 1024, 1\), found \(41, 1024, 1\)",
        ),
        (lambda s: s.pop("u"), r"u of shape \(3 x vertices, 1\), found none"),
        (lambda s: s.update(u=torch.zeros(301, 1)), r"u of shape \(3 x vertices, 1\), found \(301, 1\)"),
        (lambda s: s.update(w_exp=torch.zeros(303, 10)), r"w_exp of shape \(300, coefficients\), found \(303, 10\)"),
        (lambda s: s.update(w_shp_base=torch.zeros(204, 39)), r"w_shp_base of shape \(204, 40\), found \(204, 39\)"),
        (lambda s: s.update(u_base=torch.zeros(63, 1)), r"u_base of shape \(204, 1\), found \(63, 1\)"),
        (lambda s: s.update(param_std=torch.ones(60)), r"param_std of at least 62 numbers, found \(60,\)"),
        (lambda s: s.clear(), r"u of shape \(3 x vertices, 1\), found none"),
    ],
)
def test_other_contents_are_refused(state, tmp_path, change, message):
    changed = dict(state)
    change(changed)
    write(tmp_path / "wrong.pth.tar", changed)
    with pytest.raises(ValueError, match=rf"wrong\.pth\.tar: expected .*{message}"):
        load_synergynet(tmp_path / "wrong.pth.tar")


def test_files_of_another_kind_are_refused(tmp_path):
    torch.save({"weights": {}}, tmp_path / "wrong.pth.tar")
    with pytest.raises(ValueError, match=r"wrong\.pth\.tar: expected a dictionary with 'state_dict', found"):
        load_synergynet(tmp_path / "wrong.pth.tar")
    torch.save({"epoch": 1, "state_dict": {"u": "text"}}, tmp_path / "wrong.pth.tar")
    with pytest.raises(ValueError, match=r"wrong\.pth\.tar: expected a dictionary of tensors, found str under 'u'"):
        load_synergynet(tmp_path / "wrong.pth.tar")
    with pytest.raises(FileNotFoundError, match=r"none\.pth\.tar: expected a torch checkpoint"):
        load_synergynet(tmp_path / "none.pth.tar")
