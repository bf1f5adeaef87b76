"""The networks that see landmarks: against plain concatenation, and what they must not depend on."""

import pytest
import torch
from torch import nn

from facelift.models.pointnet import LandmarkRegressor, PointFeatures, Refinement

SIZES = {"pose": 12, "shape": 40, "expression": 10}


def randomised(module: nn.Module) -> nn.Module:
    """In float64, with weights, biases and norms that all matter."""
    module = module.double()
    with torch.no_grad():
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm1d):
                norm.running_mean.normal_(0, 0.1)
                norm.running_var.uniform_(0.5, 2)
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return module.eval()


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("released", [False, True])
def test_refinement_is_the_network_on_concatenated_features(released):
    """The paper's form: everything repeated beside every point, 64 + 1024 + 1280 + 40 + 10 = 2418 numbers."""
    refinement = randomised(Refinement(context=1280 + 40 + 10, released=released))
    points, context = torch.randn(2, 68, 3).double(), torch.randn(2, 1330).double()
    first, second, third, fourth, fifth = refinement.points.layers
    local = second(first(points.mT))
    holistic = fifth(fourth(third(local))).max(dim=-1).values
    whole = torch.cat([holistic, context], dim=1)[..., None].repeat(1, 1, 68)
    together = torch.cat([local, whole], dim=1)
    assert together.shape[1] == 2418 == refinement.mlp[0][0].in_channels
    expected = refinement.out(refinement.mlp(together)).mT
    torch.testing.assert_close(refinement(points, context), expected, atol=1e-12, rtol=1e-12)
    assert expected.std() > 1e-3


def test_channels_are_the_papers():
    channels = [(layer[0].in_channels, layer[0].out_channels) for layer in PointFeatures().layers]
    assert channels == [(3, 64), (64, 64), (64, 64), (64, 128), (128, 1024)]
    mlp = [(layer[0].in_channels, layer[0].out_channels) for layer in Refinement(context=1330).mlp]
    assert mlp == [(2418, 512), (512, 256), (256, 128)]


def test_fresh_refinement_changes_nothing_and_the_released_one_never_lowers():
    points, context = torch.randn(2, 68, 3), torch.randn(2, 7)
    assert (Refinement(context=7)(points, context) == 0).all()
    narrow = Refinement(context=7, width=0.5)
    assert (narrow(points, context) == 0).all() and narrow.out.in_channels == 64
    assert [layer[0].out_channels for layer in narrow.points.layers] == [32, 32, 32, 64, 512]
    residual = Refinement(context=7, released=True)(points, context)
    assert (residual >= 0).all() and residual.max() > 0


def test_refinement_moves_with_the_order_of_the_points_and_the_regressor_ignores_it():
    refinement, order = randomised(Refinement(context=5)), torch.randperm(68)
    points, context = torch.randn(2, 68, 3).double(), torch.randn(2, 5).double()
    residual = refinement(points, context)
    torch.testing.assert_close(refinement(points[:, order], context), residual[:, order])
    assert (residual.std(1) > 1e-4).all()
    for support in ("paper", "setting1", "setting2"):
        regressor = randomised(LandmarkRegressor(sizes=SIZES, image=5, support=support))
        found, again = regressor(points, context), regressor(points[:, order], context)
        assert all(torch.equal(found[name], again[name]) for name in SIZES)


def test_without_points_all_landmarks_move_alike():
    refinement = randomised(Refinement(context=5, point=False))
    assert refinement.mlp[0][0].in_channels == 5 and refinement.points is None
    points, context = torch.randn(2, 68, 3).double(), torch.randn(2, 5).double()
    assert refinement(points, context).shape == (2, 1, 3)
    assert torch.equal(refinement(points + 1, context), refinement(points, context))
    assert not torch.equal(refinement(points, context + 1), refinement(points, context))


@pytest.mark.parametrize(("support", "width"), [("paper", 1024), ("setting1", 1024 + 9), ("setting2", 1344)])
def test_regressor_sees_what_its_setting_says(support, width):
    regressor = randomised(LandmarkRegressor(sizes=SIZES, image=9, support=support))
    assert {name: (head.in_channels, head.out_channels) for name, head in regressor.heads.items()} == {
        name: (width, size) for name, size in SIZES.items()
    }
    points, z = torch.randn(3, 68, 3).double(), torch.randn(3, 9).double()
    found, other = regressor(points, z), regressor(points, z + 1)
    assert {name: tuple(value.shape) for name, value in found.items()} == {n: (3, s) for n, s in SIZES.items()}
    assert torch.equal(found["pose"], other["pose"]) == (support != "setting1")
    with torch.no_grad():  # the third layer's maxima reach the heads by themselves in setting 2 alone
        regressor.points.layers[3][0].weight.zero_()
        cut = regressor(points, z)["pose"], regressor(2 * points, z)["pose"]
    assert torch.equal(*cut) == (support != "setting2")


def test_released_regressor_gives_nothing_below_zero_and_ours_does():
    points, z = torch.randn(4, 68, 3), torch.randn(4, 9)
    released = LandmarkRegressor(sizes=SIZES, image=9, released=True)(points, z)
    assert all((value >= 0).all() for value in released.values()) and released["shape"].max() > 0
    assert LandmarkRegressor(sizes=SIZES, image=9)(points, z)["shape"].min() < 0


def test_regressor_of_some_parameters_has_their_heads_alone():
    regressor = LandmarkRegressor(sizes={"pose": 12}, image=9)
    assert list(regressor.heads) == ["pose"]
    assert list(regressor(torch.randn(2, 68, 3), torch.randn(2, 9))) == ["pose"]
