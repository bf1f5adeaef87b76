"""ResNeSt encoders: published sizes and names, split attention and the strides' pools against loops."""

import numpy as np
import pytest
import torch
from torch import nn

from facelift.models.encoders import build_encoder
from facelift.models.resnest import Bottleneck, ResNeStEncoder, SplitAttention


@pytest.mark.parametrize(("name", "published"), [("resnest50", 27_483_240), ("resnest101", 48_275_016)])
def test_parameter_count_is_the_published_one_less_the_classifier(name, published):
    with torch.device("meta"):
        encoder = build_encoder(name)
    assert sum(p.numel() for p in encoder.parameters()) == published - 1000 * (2048 + 1)
    assert (encoder.width, encoder.image_size) == (2048, 224)


def test_names_are_those_of_the_authors():
    """Written down from the authors' ResNeSt-50."""
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in build_encoder("resnest50").state_dict().items()}
    published = {
        "conv1.0.weight": (32, 3, 3, 3),
        "conv1.1.running_mean": (32,),
        "conv1.3.weight": (32, 32, 3, 3),
        "conv1.6.weight": (64, 32, 3, 3),
        "bn1.weight": (64,),
        "layer1.0.conv2.conv.weight": (128, 32, 3, 3),
        "layer1.0.conv2.bn0.bias": (128,),
        "layer1.0.conv2.fc1.weight": (32, 64, 1, 1),
        "layer1.0.conv2.fc1.bias": (32,),
        "layer1.0.conv2.bn1.running_var": (32,),
        "layer1.0.conv2.fc2.weight": (128, 32, 1, 1),
        "layer1.0.downsample.1.weight": (256, 64, 1, 1),
        "layer1.0.downsample.2.weight": (256,),
        "layer3.0.downsample.1.weight": (1024, 512, 1, 1),
        "layer4.2.conv3.weight": (2048, 512, 1, 1),
    }
    assert published.items() <= shapes.items()
    assert not any(name.startswith("layer1.1.downsample") for name in shapes)


def test_split_attention_is_the_formula_in_loops():
    """Norms are the identity; every split has its half of the input, and weights that sum to 1 over the splits."""
    torch.manual_seed(0)
    c, block = 6, SplitAttention(6).double().eval()
    for norm in (block.bn0, block.bn1):
        norm.eps = 0
    x = torch.rand(1, c, 5, 4, dtype=torch.float64)
    with torch.no_grad():
        found = block(x)[0].numpy()
    kernel, padded = block.conv.weight.detach().numpy(), np.pad(x[0].numpy(), ((0, 0), (1, 1), (1, 1)))
    maps = np.zeros((2 * c, 5, 4))
    for out in range(2 * c):
        half = slice(0, 3) if out < c else slice(3, 6)
        for i in range(5):
            for j in range(4):
                maps[out, i, j] = max((kernel[out] * padded[half, i : i + 3, j : j + 3]).sum(), 0)
    pool = np.array([(maps[k] + maps[c + k]).mean() for k in range(c)])
    matrix = lambda layer: (layer.weight.detach().numpy()[..., 0, 0], layer.bias.detach().numpy())  # noqa: E731
    (first, first_bias), (last, last_bias) = matrix(block.fc1), matrix(block.fc2)
    raw = last @ np.maximum(first @ pool + first_bias, 0) + last_bias
    for k in range(c):
        share = np.exp(raw[k]) / (np.exp(raw[k]) + np.exp(raw[c + k]))
        np.testing.assert_allclose(found[k], share * maps[k] + (1 - share) * maps[c + k], atol=1e-12)
    assert np.abs(found).max() > 0.05


def test_strides_are_average_pools_after_the_attention_and_before_the_projection():
    block = Bottleneck(16, 4, stride=2)
    assert block.conv2.conv.stride == (1, 1) and isinstance(block.avd_layer, nn.AvgPool2d)
    pool, projection, _ = block.downsample
    assert projection.stride == (1, 1)
    corner = pool(torch.arange(9.0).view(1, 1, 3, 3))  # a last odd row and column are pools of their own
    assert corner.tolist() == [[[[2.0, 3.5], [6.5, 8.0]]]]
    for side in (5, 6, 8):
        assert block(torch.rand(2, 16, side, side)).shape == (2, 16, (side + 1) // 2, (side + 1) // 2)
    assert Bottleneck(16, 4).downsample is None and Bottleneck(16, 4).avd_layer is None


def test_batch_does_not_mix_pictures_and_every_parameter_learns():
    torch.manual_seed(0)
    encoder = ResNeStEncoder((1, 1, 2, 1), stem=4, inner=8)
    images = torch.rand(3, 3, 64, 64)
    encoder(images).square().mean().backward()
    idle = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []
    encoder.eval()
    torch.testing.assert_close(encoder(images)[1:2], encoder(images[1:2]), atol=1e-5, rtol=1e-4)
    assert encoder(images).shape == (3, 4, encoder.width)
