"""3DDFA_V2's mb1 and mb05 on synthetic copies: names and shapes, the landmarks' formula in float64, what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from facelift.checkpoints.tddfa import load_tddfa
from facelift.models.mobilenetv1 import MobileNetV1Encoder
from published_names import tddfa_shapes


@pytest.fixture
def model(rng) -> SimpleNamespace:
    """3DDFA_V2's 3DMM, with fewer vertices; whitening as its file has it, in its own frame."""
    pose = np.array([[4e-4, 0, 0, 60], [0, 4e-4, 0, 60], [0, 0, 4e-4, 0]]).ravel()
    std = np.concatenate([np.tile([1e-5, 1e-5, 1e-5, 3], 3), np.ones(50)])
    return SimpleNamespace(
        mean=1e5 * rng.standard_normal((90, 3)).astype(np.float32),
        shape=2e3 * rng.standard_normal((40, 90, 3)).astype(np.float32),
        expression=3e3 * rng.standard_normal((10, 90, 3)).astype(np.float32),
        landmark_vertices=rng.permutation(90)[:68],
        whitening=SimpleNamespace(mean=np.concatenate([pose, np.full(50, 0.2)]), std=std),
    )


def random_state(*, half: bool) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in tddfa_shapes(half=half).items():
        draw = torch.randn(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            draw = torch.tensor(5)
        elif name.endswith("running_var") or (".bn" in name and name.endswith("weight")):
            draw = 0.5 + torch.rand(shape, generator=generator)
        elif draw.ndim > 1:
            draw = draw * (2 / draw[0].numel()) ** 0.5
        state[name] = draw
    return state


def write(path, state: dict[str, torch.Tensor]) -> None:
    torch.save({"epoch": 50, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, path)


@pytest.mark.parametrize("half", [False, True])
def test_landmarks_are_the_formula_of_the_published_code(half, model, tmp_path):
    state = random_state(half=half)
    write(tmp_path / "mb.pth", state)
    network = load_tddfa(tmp_path / "mb.pth", model)
    image = torch.rand(1, 3, 120, 120, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        found = network(image)
    encoder = MobileNetV1Encoder(multiplier=0.5 if half else 1.0).double().eval()
    encoder.load_state_dict({name: value for name, value in state.items() if not name.startswith("fc_")})
    with torch.no_grad():
        z = encoder(image.double().flip(1)).mean(1)[0].numpy()
    whitened = state["fc_param.weight"].numpy().astype(float) @ z + state["fc_param.bias"].numpy()
    assert whitened.std() > 0.3
    np.testing.assert_allclose(found.whitened[0].numpy(), whitened, atol=1e-4)
    parameters = whitened * model.whitening.std + model.whitening.mean
    rows = model.landmark_vertices
    u = model.mean[rows].astype(float).reshape(-1, 1)  # x, y, z of a vertex follow each other
    shape, expression = (
        basis[:, rows].astype(float).reshape(len(basis), -1).T for basis in (model.shape, model.expression)
    )
    vertices = u + shape @ parameters[12:52, None] + expression @ parameters[52:, None]
    pose = parameters[:12].reshape(3, 4)
    x, y, z = pose[:, :3] @ vertices.reshape(3, -1, order="F") + pose[:, 3:]
    expected = np.stack([x - 1 + 0.5, (120 + 1 - y) - 1 + 0.5, -z], axis=-1)
    np.testing.assert_allclose(found.landmarks[0].numpy(), expected, atol=2e-3)
    assert np.array_equal(found.landmarks, found.coarse) and found.from_landmarks is None
    assert not network.training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("dw5_6.bn_sep.bias"), r"missing: dw5_6\.bn_sep\.bias; unknown: none"),
        (lambda s: s.update({"dw7.weight": torch.zeros(1)}), r"missing: none; unknown: dw7\.weight"),
        (
            lambda s: s.update({"dw6.conv_sep.weight": torch.zeros(512, 256, 1, 1)}),
            r"dw6\.conv_sep\.weight of shape \(512, 512, 1, 1\), found \(512, 256, 1, 1\)",
        ),
        (lambda s: s.pop("fc_param.weight"), r"fc_param\.weight of shape \(62, 512\), found none"),
        (
            lambda s: s.update({"fc_param.weight": torch.zeros(62, 1024)}),
            r"fc_param\.weight of shape \(62, 512\), found \(62, 1024\)",
        ),
        (lambda s: s.update({"fc_param.bias": torch.zeros(102)}), r"fc_param\.bias of shape \(62,\), found \(102,\)"),
        (
            lambda s: s.update({"conv1.weight": torch.zeros(24, 3, 3, 3)}),
            r"conv1\.weight of 32 or 16 channels \(mb1, mb05\), found 24",
        ),
        (lambda s: s.clear(), r"conv1\.weight of 32 or 16 channels \(mb1, mb05\), found none"),
    ],
)
def test_other_contents_are_refused(model, tmp_path, change, message):
    state = random_state(half=True)
    change(state)
    write(tmp_path / "wrong.pth", state)
    with pytest.raises(ValueError, match=rf"wrong\.pth: expected .*{message}"):
        load_tddfa(tmp_path / "wrong.pth", model)


def test_a_file_of_another_model_s_size_is_refused(model, tmp_path):
    write(tmp_path / "mb05.pth", random_state(half=True))
    model.shape = model.shape[:39]
    model.whitening.mean, model.whitening.std = model.whitening.mean[:61], model.whitening.std[:61]
    with pytest.raises(
        ValueError, match=r"mb05\.pth: expected fc_param\.weight of shape \(61, 512\), found \(62, 512\)"
    ):
        load_tddfa(tmp_path / "mb05.pth", model)
