"""M3-LRN: its 3DMM against loops, what its switches do, where it starts, and that all of it learns."""

import numpy as np
import pytest
import torch

from facelift.losses.facelift_loss import weighted_sum
from facelift.losses.m3lrn_loss import M3LRNTarget, m3lrn_terms
from facelift.models.encoders import pooled
from facelift.models.m3lrn import M3LRN
from facelift.models.m3lrn_config import INPUTS, M3LRNConfig
from facelift.training.config import M3LRNWeights

SMALL = "mobilenetv1_05"


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def settled(network: M3LRN) -> M3LRN:
    """In evaluation mode, with statistics that let pictures through (fresh ones are far from those of fresh weights),
    heads that answer with about one standard deviation, and a refinement that moves points by some px."""
    for head in network.heads.values():
        torch.nn.init.normal_(head.weight, std=head.in_features**-0.5)
    if network.refinement is not None and not network.config.released:
        torch.nn.init.normal_(network.refinement.out.weight)
    norms = [norm for norm in network.modules() if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.rand(8, 3, 120, 120))
    return network.eval()


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_by_module():
    """The paper: 3.8 M with MobileNetV2, as 3.0 + 0.8. 3.86 M are what its layers have; no cut of them gives 3.0 + 0.8:
    picture to 3DMM is 2.30 M, refinement 1.55 M. The support is for training alone.
    """
    network = M3LRN()
    encoder, heads = 3_504_872 - 1281 * 1000, 1281 * (12 + 40 + 10)
    points = 3 * 64 + 2 * 64 * 64 + 64 * 128 + 128 * 1024 + 2 * (3 * 64 + 128 + 1024)
    mlp = 2418 * 512 + 512 * 256 + 256 * 128 + 2 * (512 + 256 + 128) + 129 * 3
    assert (count(network.encoder), count(network.heads)) == (encoder, heads) == (2_223_872, 79_422)
    assert count(network.refinement) == points + mlp == 1_554_371
    assert count(network.support) == points + 1025 * (12 + 40 + 10) == 213_886
    inference = count(network) - count(network.support)
    assert inference == 3_857_665 and int(inference / 1e5) == 38
    released = M3LRN(M3LRNConfig(released=True))  # biases before its norms, and norms after its last layers
    assert (count(released.refinement), count(released.support)) == (1_554_371 + 2240 + 6, 213_886 + 1344 + 2 * 62)


def test_landmarks_are_the_3dmm_in_loops(linear_model):
    network = settled(M3LRN(M3LRNConfig(encoder=SMALL, support="none"), linear_model))
    found = network(torch.rand(2, 3, 120, 120))
    assert found.whitened.std() > 0.3
    whitening = linear_model.whitening
    for face in range(2):
        parameters = whitening.mean.astype(float) + whitening.std.astype(float) * found.whitened[face].detach().numpy()
        np.testing.assert_allclose(found.parameters[face].detach().numpy(), parameters, atol=1e-4)
        pose, shape, expression = parameters[:12].reshape(3, 4), parameters[12:52], parameters[52:]
        for landmark, vertex in enumerate(linear_model.landmark_vertices):
            point = linear_model.mean[vertex].astype(float)
            for k in range(40):
                point = point + shape[k] * linear_model.shape[k, vertex]
            for k in range(10):
                point = point + expression[k] * linear_model.expression[k, vertex]
            expected = pose[:, :3] @ point + pose[:, 3]
            np.testing.assert_allclose(found.coarse[face, landmark].detach().numpy(), expected, atol=1e-3)
    assert found.coarse.std() > 10


def test_a_fresh_network_sees_the_mean_face_and_refines_nothing(linear_model):
    network = M3LRN(M3LRNConfig(encoder=SMALL), linear_model)
    for mode in (True, False):
        found = network.train(mode)(torch.rand(2, 3, 120, 120))
        assert torch.equal(found.landmarks, found.coarse)
    mean = linear_model.mean[linear_model.landmark_vertices] * [40, -40, -40] + [60, 60, 0]
    torch.testing.assert_close(found.coarse[0], torch.tensor(mean, dtype=torch.float32), atol=3, rtol=0)
    network.refinement.out.bias.data = torch.tensor([1.0, -2.0, 3.0])
    residual = network(torch.rand(2, 3, 120, 120))
    moved = (residual.landmarks - residual.coarse).mean((0, 1))
    torch.testing.assert_close(moved, torch.tensor([1.0, -2.0, 3.0]), atol=1e-4, rtol=0)  # px


CONFIGURATIONS = {
    "all": {},
    "baseline": {"refine": False, "support": "none"},
    "refinement alone": {"support": "none"},
    "support alone": {"refine": False},
    "setting 1": {"support": "setting1"},
    "setting 2": {"support": "setting2"},
    "pose from landmarks": {"target": "pose"},
    "shape from landmarks": {"target": "shape_expression"},
    "points": {"inputs": ("point",)},
    "points and image": {"inputs": ("point", "image")},
    "without points": {"inputs": ("image", "shape", "expression")},
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_parameter_learns(name, linear_model):
    """From the second step on: in the first, the refinement's last weights are 0 and stop what is behind them."""
    network = M3LRN(M3LRNConfig(encoder=SMALL, **CONFIGURATIONS[name]), linear_model)
    images = torch.rand(4, 3, 64, 64)
    target = M3LRNTarget(torch.randn(4, 62), 120 * torch.rand(4, 68, 3))
    idle = []
    for _ in range(2):
        network.zero_grad()
        weighted_sum(m3lrn_terms(network(images), target), vars(M3LRNWeights())).backward()
        idle.append({n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0})
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= 0.01 * (0 if parameter.grad is None else parameter.grad)
    behind = {n for n, _ in network.named_parameters() if n.startswith(("refinement.points", "refinement.mlp"))}
    assert idle == [behind, set()]


def test_switches_set_the_width_of_what_the_refinement_sees():
    sizes = {"point": 64 + 1024, "image": 512, "shape": 40, "expression": 10}
    for chosen in (("point",), ("point", "image"), ("shape",), ("image", "expression"), INPUTS):
        network = M3LRN(M3LRNConfig(encoder=SMALL, inputs=chosen))
        assert network.refinement.mlp[0][0].in_channels == sum(sizes[name] for name in chosen)
        assert network(torch.rand(2, 3, 64, 64)).landmarks.shape == (2, 68, 3)


def test_refinement_sees_exactly_what_it_is_told(linear_model):
    """A change of the 3DMM's points, of z, of shape or of expression moves the residual iff it is an input."""
    for chosen in (("point",), ("image",), ("shape",), ("expression",)):
        network = M3LRN(M3LRNConfig(encoder=SMALL, inputs=chosen), linear_model).eval()
        torch.nn.init.normal_(network.refinement.out.weight)
        points, z = 120 * torch.rand(2, 68, 3), torch.rand(2, 512)
        groups = {"shape": torch.randn(2, 40), "expression": torch.randn(2, 10)}
        with torch.no_grad():
            before = network._residual(points, z, groups)
            changed = {
                "point": network._residual(points + 9 * torch.rand(2, 68, 3), z, groups),
                "image": network._residual(points, z + 1, groups),
                "shape": network._residual(points, z, groups | {"shape": groups["shape"] + 1}),
                "expression": network._residual(points, z, groups | {"expression": groups["expression"] + 1}),
            }
        assert {name for name, after in changed.items() if not torch.allclose(after, before)} == set(chosen)


def test_support_regresses_its_target_and_keeps_the_rest(linear_model):
    for target, own in (("pose", slice(0, 12)), ("shape_expression", slice(12, 62)), ("all", slice(0, 62))):
        network = M3LRN(M3LRNConfig(encoder=SMALL, target=target), linear_model)
        found = network(torch.rand(2, 3, 64, 64))
        regressed = torch.zeros(62, dtype=torch.bool)
        regressed[own] = True
        assert torch.equal((found.from_landmarks != found.whitened).any(0), regressed)
        if target != "all":
            found.from_landmarks[:, ~regressed].sum().backward()
            assert all(p.grad is None or not p.grad.any() for p in network.parameters())


def test_the_regressor_teaches_the_encoder_through_the_landmarks(linear_model):
    network = M3LRN(M3LRNConfig(encoder=SMALL, refine=False), linear_model)
    network(torch.rand(2, 3, 64, 64)).from_landmarks.square().sum().backward()
    assert network.encoder.conv1.weight.grad.abs().sum() > 0
    assert network.heads["pose"].weight.grad.abs().sum() > 0


def test_inference_leaves_the_support_out(linear_model):
    network = settled(M3LRN(M3LRNConfig(encoder=SMALL), linear_model))
    image = torch.rand(1, 3, 120, 120)
    with torch.no_grad():
        whole, short = network(image), network(image, support=False)
    assert short.from_landmarks is None and whole.from_landmarks.shape == (1, 62)
    assert torch.equal(whole.landmarks, short.landmarks)


def test_batch_does_not_mix_faces(linear_model):
    network = settled(M3LRN(M3LRNConfig(), linear_model))
    images = torch.rand(3, 3, 120, 120)
    with torch.no_grad():
        together, alone = network(images), network(images[1:2])
    for name, part in together._asdict().items():
        torch.testing.assert_close(part[1:2], getattr(alone, name), atol=1e-3, rtol=1e-4)
    assert (together.landmarks - together.coarse).abs().max() > 0.1


def test_released_network_reads_bgr_and_answers_in_our_frame(linear_model):
    """A pose that maps v to (x', y', z'), y' up, z' towards the camera, in px that count from 1."""
    network = M3LRN(M3LRNConfig(encoder=SMALL, released=True, refine=False, support="none"), linear_model).eval()
    pose = torch.tensor([[10.0, 1, 2, 50], [3, 20, 4, 70], [5, 6, 30, 8]])
    network.mean[:12] = pose.flatten()
    with torch.no_grad():
        for head in network.heads.values():
            head.weight.zero_()
    found = network(torch.rand(1, 3, 120, 120))
    v = torch.tensor(linear_model.mean[linear_model.landmark_vertices])
    theirs = v @ pose[:, :3].T + pose[:, 3]
    expected = torch.stack([theirs[:, 0] - 0.5, (120 + 1 - theirs[:, 1]) - 0.5, -theirs[:, 2]], dim=-1)
    torch.testing.assert_close(found.coarse[0], expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(network.landmarks(found.parameters)[0], expected, atol=1e-4, rtol=1e-5)
    plain = M3LRN(M3LRNConfig(encoder=SMALL, refine=False, support="none"), linear_model).eval()
    settled(network)
    plain.load_state_dict(network.state_dict())
    image = torch.rand(1, 3, 120, 120)
    torch.testing.assert_close(network(image).whitened, plain(image[:, [2, 1, 0]]).whitened)
    assert not torch.allclose(network(image).whitened, plain(image).whitened)


def test_whitened_numbers_count_standard_deviations(linear_model):
    network = M3LRN(M3LRNConfig(encoder=SMALL), linear_model)
    whitening = linear_model.whitening
    found = network.dewhiten(torch.tensor([[0.0] * 62, [2.0] * 62]))
    torch.testing.assert_close(found[0], torch.tensor(whitening.mean))
    torch.testing.assert_close(found[1], torch.tensor(whitening.mean + 2 * whitening.std))


def test_mixed_precision_keeps_the_geometry_in_float32(linear_model):
    network = settled(M3LRN(M3LRNConfig(encoder=SMALL), linear_model))
    with torch.autocast("cpu", torch.bfloat16):
        image = torch.rand(2, 3, 120, 120)
        found, z = network(image), pooled(network.encoder, image)
    assert z.dtype == torch.bfloat16 and all(part.dtype == torch.float32 for part in found)
    torch.testing.assert_close(found.coarse, network.landmarks(found.parameters))


def test_state_holds_the_3dmm_and_rebuilds_the_network(linear_model):
    network = settled(M3LRN(M3LRNConfig(encoder=SMALL), linear_model))
    again = M3LRN(M3LRNConfig(encoder=SMALL)).eval()
    image = torch.rand(1, 3, 120, 120)
    assert not torch.allclose(again(image).coarse, network(image).coarse)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(image).landmarks, network(image).landmarks)


def test_what_does_not_fit_is_refused(linear_model):
    with pytest.raises(ValueError, match=r"linear model: expected 30 shape and 10 expression .*, found 40 and 10"):
        M3LRN(M3LRNConfig(shape_size=30), linear_model)
    with pytest.raises(ValueError, match=r"inputs: expected some of point, image, shape, expression .*, found none"):
        M3LRNConfig(inputs=())
    assert M3LRN(M3LRNConfig(encoder=SMALL, refine=False, inputs=())).refinement is None
