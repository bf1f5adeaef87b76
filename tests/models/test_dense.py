"""Dense landmark networks: backbones with torchvision's names, spiral decoder, deviations, landmarks of points."""

import pytest
import torch

from facelift.checkpoints.torchvision import load_torchvision
from facelift.models.convnext import ConvNeXtEncoder, convnext_t
from facelift.models.dense import LEAST_SIGMA, DenseLandmarks, DenseOutput
from facelift.models.dense_config import DenseConfig
from facelift.models.mobilenetv3 import MobileNetV3Encoder, SqueezeExcitation
from facelift.models.spiral_decoder import SpiralConvolution, SpiralDecoder, Upsampling, counts_of
from facelift.models.stochastic_depth import StochasticDepth, rising
from facelift.models.swin import WINDOW, SwinEncoder, WindowAttention, _merged, _windows, swin_t
from facelift.morphable.procedural_head import ProceduralHead
from facelift.morphable.vertex_sets import head_vertex_sets

PUBLISHED = {  # parameters with the classifier, the classifier's own, tensors with it
    convnext_t: (28_589_128, 768 * 1000 + 1000, 182 - 2),
    swin_t: (28_288_354, 768 * 1000 + 1000, 185 - 2),
    MobileNetV3Encoder: (5_483_032, 960 * 1280 + 1280 + 1280 * 1000 + 1000, 312 - 4),
}


@pytest.fixture(scope="module")
def sets():
    return head_vertex_sets(ProceduralHead(), "procedural-head", faces=2)


@pytest.mark.parametrize("build", PUBLISHED)
def test_parameter_counts_are_the_published_ones_less_the_classifier(build):
    total, classifier, tensors = PUBLISHED[build]
    with torch.device("meta"):
        encoder = build()
    assert sum(p.numel() for p in encoder.parameters()) == total - classifier
    assert len(encoder.state_dict()) == tensors


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (
            convnext_t,
            {
                "features.0.1.weight": (96,),
                "features.1.0.layer_scale": (96, 1, 1),
                "features.2.1.weight": (192, 96, 2, 2),
                "features.5.8.block.5.bias": (384,),
                "classifier.0.weight": (768,),
            },
        ),
        (
            swin_t,
            {
                "features.0.2.bias": (96,),
                "features.1.1.attn.relative_position_bias_table": (169, 3),
                "features.1.0.attn.relative_position_index": (2401,),
                "features.2.reduction.weight": (192, 384),
                "features.5.5.mlp.3.weight": (384, 1536),
                "norm.weight": (768,),
            },
        ),
        (
            MobileNetV3Encoder,
            {
                "features.0.0.weight": (16, 3, 3, 3),
                "features.1.block.0.0.weight": (16, 1, 3, 3),
                "features.4.block.2.fc1.weight": (24, 72, 1, 1),
                "features.15.block.3.1.running_var": (160,),
                "features.16.1.weight": (960,),
            },
        ),
    ],
)
def test_names_are_torchvisions(build, names):
    """Written down from torchvision 0.29's modules; test_torchvision.py compares outputs where it is installed."""
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in build().state_dict().items()}
    assert names.items() <= shapes.items()


def test_a_file_with_a_classifier_fills_the_encoder_but_for_it(tmp_path):
    source, target = (ConvNeXtEncoder((1, 1), (8, 16), image_size=32) for _ in range(2))
    classifier = {"classifier.2.weight": torch.zeros(1000, 16), "classifier.2.bias": torch.zeros(1000)}
    torch.save(source.state_dict() | classifier, tmp_path / "c.pth")
    load_torchvision(target, tmp_path / "c.pth")
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(source.eval()(image), target.eval()(image))
    torch.save(source.state_dict() | {"features.9.weight": torch.zeros(1)}, tmp_path / "d.pth")
    with pytest.raises(ValueError, match=r"unknown: features\.9\.weight"):
        load_torchvision(target, tmp_path / "d.pth")


def test_windows_are_put_back_where_they_were():
    x = torch.arange(2 * 14 * 21 * 3.0).view(2, 14, 21, 3)
    windows = _windows(x)
    assert windows.shape == (2, 6, 49, 3) and torch.equal(windows[1, 4, 8], x[1, 8, 8])
    assert torch.equal(_merged(windows, 14, 21), x)


def test_attention_stays_within_its_window_and_the_shift_moves_the_windows():
    torch.manual_seed(0)
    for shift, reached in ((0, range(7, 14)), (3, range(3, 10))):
        attention = WindowAttention(8, 2, shift=shift).eval()
        x = torch.rand(1, 21, 21, 8, requires_grad=True)
        attention(x)[0, 8, 8].sum().backward()
        seen = torch.nonzero(x.grad[0].abs().sum(-1))
        wanted = reached if shift == 0 else range(3, 10)
        assert {int(v) for v in seen[:, 0]} == set(wanted)
    attention = WindowAttention(8, 2, shift=3).eval()  # cells that only the roll made neighbours are apart
    x = torch.rand(1, 14, 14, 8, requires_grad=True)
    attention(x)[0, 0, 0].sum().backward()
    assert set(torch.nonzero(x.grad[0].abs().sum(-1) > 1e-8)[:, 0].tolist()) == set(range(3))
    assert WINDOW == 7


def test_swin_takes_pictures_of_any_size():
    encoder = SwinEncoder((1, 1), (1, 2), width=8).eval()
    assert encoder(torch.rand(1, 3, 36, 52)).shape == (1, 5 * 7, 16)


def test_squeeze_and_excitation_by_hand():
    """Two of eight channels squeezed to eight; weights of zero let a hard sigmoid pass half, a large bias all."""
    block = SqueezeExcitation(8)
    torch.nn.init.zeros_(block.fc2.weight)
    torch.nn.init.zeros_(block.fc2.bias)
    x = torch.rand(1, 8, 2, 2)
    torch.testing.assert_close(block(x), 0.5 * x)
    with torch.no_grad():
        block.fc2.bias[3] = 10.0
    torch.testing.assert_close(block(x)[0, 3], x[0, 3])


def test_stochastic_depth_keeps_the_mean_and_whole_samples():
    torch.manual_seed(0)
    layer, x = StochasticDepth(0.25), torch.ones(4000, 2, 2)
    kept = layer.train()(x)
    assert {float(v) for v in kept.unique()} == {0.0, float(torch.tensor(1.0) / 0.75)}
    assert (kept.flatten(1).std(1) == 0).all() and kept.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(layer.eval()(x), x)
    assert rising((2, 3), 0.2) == [[0.0, 0.05], [0.1, pytest.approx(0.15), 0.2]]


def test_a_spiral_convolution_by_hand():
    layer = SpiralConvolution(2, 1, 3)
    layer.spiral.copy_(torch.tensor([[0, 1, 2] * 3, [1] * 9, [2, 0, 1] * 3]))
    with torch.no_grad():
        layer.linear.weight.zero_()
        layer.linear.weight[0, [0, 3]] = torch.tensor([1.0, 10.0])  # x of the first, y of the second
        layer.linear.bias.fill_(0.5)
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    assert layer(x).flatten().tolist() == [1 + 40 + 0.5, 3 + 40 + 0.5, 5 + 20 + 0.5]
    up = Upsampling(1)
    up.index.copy_(torch.tensor([[0, 1, 2]]))
    up.weights.copy_(torch.tensor([[0.5, 0.25, 0.25]]))
    assert up(x).tolist() == [[[2.5, 3.5]]]


def test_the_decoder_goes_from_coarse_to_fine(sets):
    assert counts_of(1609) == [26, 101, 403, 1609] and counts_of(202) == [13, 51, 202]
    decoder = SpiralDecoder(6, 403, channels=4, sets=sets)
    assert [convolution.linear.out_features for convolution in decoder.convolutions] == [4, 4]
    assert decoder(torch.rand(2, 6)).shape == (2, 403, 4)
    state = SpiralDecoder(6, 403, channels=4)
    state.load_state_dict(decoder.state_dict())  # the checkpoint holds spirals and upsampling
    x = torch.rand(1, 6)
    assert torch.equal(state(x), decoder(x)) and (state.last.spiral[:, 0] == torch.arange(403)).all()
    constant = torch.ones(1, 101, 1)
    assert torch.allclose(decoder.up[-1](constant), torch.ones(1, 403, 1))


@pytest.mark.parametrize("predictor", ["linear", "mlp", "spiral"])
@pytest.mark.parametrize("loss", ["nlll", "resll_exp"])
def test_gradients_reach_every_parameter(sets, predictor, loss):
    torch.manual_seed(0)
    config = DenseConfig(encoder="mobile", size=64, points=101, features="grid", predictor=predictor, loss=loss)
    network = DenseLandmarks(config, sets)
    found = network(torch.rand(2, 3, 64, 64))
    assert found.points.shape == found.sigma.shape == (2, 101, 2) and (found.sigma > LEAST_SIGMA).all()
    (found.points.square().sum() + found.sigma.log().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_points_keep_their_precision_under_autocast(sets):
    torch.manual_seed(0)
    network = DenseLandmarks(DenseConfig(encoder="mobile", size=64, points=101, predictor="linear"), sets).eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features, found = network.features(x).float(), network(x)
    with torch.no_grad():
        exact = network.predictor(features)[..., :2] + 0.5 + network.mean
    assert torch.allclose(found.points, exact, atol=1e-6)
    assert not torch.allclose(found.points, exact.bfloat16().float(), atol=1e-4)


def test_sigma_is_bounded_by_one_or_not():
    for loss, bounded in (("resll", True), ("resll_exp", False), ("ngll", True)):
        network = DenseLandmarks(DenseConfig(encoder="mobile", size=64, points=101, features="mean", loss=loss))
        sigma = network._sigma(torch.tensor([-50.0, 0.0, 8.0]))
        assert sigma[0] == pytest.approx(LEAST_SIGMA) and sigma[1] == pytest.approx(0.05, abs=1e-3)
        assert (sigma[2] < 1.001) == bounded


def test_landmarks_lie_in_their_triangles(sets):
    config = DenseConfig(encoder="mobile", size=64, points=202, features="mean")
    network = DenseLandmarks(config, sets)
    points = torch.as_tensor(sets.mean[sets.places(202)][None, :, :2]).float()
    found = network.landmarks(DenseOutput(points, torch.full_like(points, 0.1)))
    level = sets[202]
    corners = points[0, torch.as_tensor(level.landmark_index[30]).long()]
    torch.testing.assert_close(
        found.points[0, 30], (corners * torch.as_tensor(level.landmark_weights[30])[:, None]).sum(0)
    )
    torch.testing.assert_close(found.sigma, torch.full((1, 68, 2), 0.1))


def test_another_count_is_refused(sets):
    with pytest.raises(ValueError, match="found 300"):
        DenseLandmarks(DenseConfig(encoder="mobile", size=64, points=300), sets)
