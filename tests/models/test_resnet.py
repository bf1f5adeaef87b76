"""ResNet encoders: published sizes, a bottleneck by hand, parity with `transformers`, torchvision's files."""

import os

import pytest
import torch
from torch import nn

from facelift.checkpoints.torchvision import load_torchvision
from facelift.models.resnet import Bottleneck, ResNetEncoder, resnet50, resnet101, resnet152


@pytest.mark.parametrize(
    ("build", "published"), [(resnet50, 25_557_032), (resnet101, 44_549_160), (resnet152, 60_192_808)]
)
def test_parameter_count_is_the_published_one_less_the_classifier(build, published):
    with torch.device("meta"):
        encoder = build()
    assert sum(p.numel() for p in encoder.parameters()) == published - 1000 * (2048 + 1)
    assert (encoder.width, encoder.image_size) == (2048, 224)


def identity_norms(module: nn.Module) -> nn.Module:
    """Batch norms that do nothing (in eval mode), but for their epsilon."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 0
    return module.eval()


def test_bottleneck_by_hand():
    """1x1: x -> 2x and -x (cut off by ReLU); 3x3: sum of the neighbours; 1x1: times 0.5; plus the input."""
    block = identity_norms(Bottleneck(8, 2))
    for conv in (block.conv1, block.conv2, block.conv3):
        nn.init.zeros_(conv.weight)
    with torch.no_grad():
        block.conv1.weight[0, 3], block.conv1.weight[1, 3] = 2, -1
        block.conv2.weight[0, 0], block.conv2.weight[1, 1] = 1, 1
        block.conv3.weight[5, 0], block.conv3.weight[6, 1] = 0.5, 0.5
        x = torch.zeros(1, 8, 3, 3)
        x[0, 3] = torch.tensor([[1.0, 0, 0], [0, 4, 0], [0, 0, 0]])
        x[0, 7] = -1.0
        y = block(x)
    assert block.downsample is None
    expected = torch.zeros(8, 3, 3)
    expected[3] = x[0, 3]  # the shortcut
    expected[5] = torch.tensor([[5.0, 5, 4], [5, 5, 4], [4, 4, 4]])  # 0.5 * neighbourhood sums of 2x
    torch.testing.assert_close(y[0], expected)  # channel 6: -x was cut off; channel 7: -1 was cut off at the end


def test_stride_sits_in_the_3x3_convolution():
    block = Bottleneck(16, 4, stride=2)
    assert (block.conv1.stride, block.conv2.stride, block.conv3.stride) == ((1, 1), (2, 2), (1, 1))
    assert block(torch.rand(1, 16, 6, 6)).shape == (1, 16, 3, 3)


def renamed(name: str) -> str:
    """torchvision's parameter names -> those of `transformers`' ResNet."""
    part = name.split(".")
    kinds = {"conv": "convolution", "bn": "normalization"}
    if part[0] in ("conv1", "bn1"):
        return f"embedder.embedder.{kinds[part[0][:-1]]}.{part[1]}"
    stem = f"encoder.stages.{int(part[0][-1]) - 1}.layers.{part[1]}"
    if part[2] == "downsample":
        return f"{stem}.shortcut.{('convolution', 'normalization')[int(part[3])]}.{part[4]}"
    return f"{stem}.layer.{int(part[2][-1]) - 1}.{kinds[part[2][:-1]]}.{part[3]}"


def test_tokens_equal_those_of_transformers_resnet(monkeypatch):
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[32, 64, 128, 256], depths=[2, 1, 3, 1], layer_type="bottleneck"
    )
    reference = transformers.ResNetModel(config).eval()
    torch.manual_seed(0)
    encoder = ResNetEncoder((2, 1, 3, 1), image_size=96, stem=8).eval()
    for norm in encoder.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            nn.init.normal_(norm.weight, 1, 0.2)
            nn.init.normal_(norm.bias, 0, 0.2)
    reference.load_state_dict({renamed(name): tensor for name, tensor in encoder.state_dict().items()})
    image = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        expected = reference((image - encoder.mean) / encoder.std).last_hidden_state
        tokens = encoder(image)
    torch.testing.assert_close(tokens.mT.unflatten(-1, (3, 3)), expected, atol=1e-5, rtol=1e-5)
    assert tokens.std() > 0.01


def small() -> ResNetEncoder:
    return ResNetEncoder((1, 1, 1, 1), image_size=32, stem=4)


def test_torchvision_file_fills_the_encoder_without_its_classifier(tmp_path):
    """An old file: no batch counters, and the classifier at its end."""
    source, target = small(), small()
    state = {name: tensor for name, tensor in source.state_dict().items() if "num_batches" not in name}
    torch.save(state | {"fc.weight": torch.zeros(1000, 128), "fc.bias": torch.zeros(1000)}, tmp_path / "r.pth")
    load_torchvision(target, tmp_path / "r.pth")
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(source.eval()(image), target.eval()(image))


def test_names_are_torchvisions():
    """Written down from the published ResNet-50 file."""
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in resnet50().state_dict().items()}
    published = {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_var": (64,),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer1.0.downsample.1.bias": (256,),
        "layer2.0.conv2.weight": (128, 128, 3, 3),
        "layer3.5.bn3.weight": (1024,),
        "layer4.0.conv1.weight": (512, 1024, 1, 1),
        "layer4.2.conv3.weight": (2048, 512, 1, 1),
    }
    assert published.items() <= shapes.items()
    assert len(shapes) == 318  # 320 with fc.weight and fc.bias


def test_file_of_a_deeper_network_is_refused(tmp_path):
    torch.save(ResNetEncoder((1, 1, 2, 1), stem=4).state_dict(), tmp_path / "deeper.pth")
    with pytest.raises(ValueError, match=r"deeper\.pth: expected .*unknown: layer3\.1\.bn1\.bias"):
        load_torchvision(small(), tmp_path / "deeper.pth")
