"""MobileNetV1 and V2: the published names, shapes and sizes, and parity with `transformers`."""

import os

import pytest
import torch
from torch import nn

from facelift.models.encoders import pooled
from facelift.models.mobilenetv1 import MobileNetV1Encoder, mobilenetv1, mobilenetv1_05
from facelift.models.mobilenetv2 import MobileNetV2Encoder


def norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    sizes = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (channels,))
    return {f"{name}.{part}": shape for part, shape in (sizes | {"num_batches_tracked": ()}).items()}


def mobilenetv2_shapes() -> dict[str, tuple[int, ...]]:
    """Table 2 of the paper (t, c, n, s) in torchvision's names, written out; not taken from our model."""
    shapes = {"features.0.0.weight": (32, 3, 3, 3)} | norm("features.0.1", 32)
    inputs, index = 32, 1
    for t, c, n in ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)):
        for _ in range(n):
            block, hidden, last = f"features.{index}.conv", t * inputs, 1
            if t > 1:
                shapes |= {f"{block}.0.0.weight": (hidden, inputs, 1, 1)} | norm(f"{block}.0.1", hidden)
                last = 2
            shapes |= {f"{block}.{last - 1}.0.weight": (hidden, 1, 3, 3)} | norm(f"{block}.{last - 1}.1", hidden)
            shapes |= {f"{block}.{last}.weight": (c, hidden, 1, 1)} | norm(f"{block}.{last + 1}", c)
            inputs, index = c, index + 1
    assert index == 18
    return shapes | {"features.18.0.weight": (1280, 320, 1, 1)} | norm("features.18.1", 1280)


def test_mobilenetv2_has_torchvisions_names_shapes_and_size():
    with torch.device("meta"):
        encoder = MobileNetV2Encoder()
    assert {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()} == mobilenetv2_shapes()
    published = 3_504_872  # with torchvision's classifier of 1000 classes
    assert sum(p.numel() for p in encoder.parameters()) == published - 1000 * (1280 + 1)
    assert (encoder.width, encoder.image_size) == (1280, 120)


def test_mobilenetv1_has_the_names_and_shapes_of_3ddfa():
    with torch.device("meta"):
        wide, half = mobilenetv1(), mobilenetv1_05()
    shapes = {name: tuple(tensor.shape) for name, tensor in wide.state_dict().items()}
    published = {
        "conv1.weight": (32, 3, 3, 3),
        "bn1.running_var": (32,),
        "dw2_1.conv_dw.weight": (32, 1, 3, 3),
        "dw2_1.conv_sep.weight": (64, 32, 1, 1),
        "dw3_2.bn_sep.bias": (256,),
        "dw5_6.conv_sep.weight": (1024, 512, 1, 1),
        "dw6.bn_dw.running_mean": (1024,),
    }
    assert published.items() <= shapes.items() and len(shapes) == 27 * 6
    assert {name.split(".")[0] for name in shapes} == {
        *("conv1", "bn1", "dw2_1", "dw2_2", "dw3_1", "dw3_2", "dw4_1", "dw4_2"),
        *("dw5_1", "dw5_2", "dw5_3", "dw5_4", "dw5_5", "dw5_6", "dw6"),
    }
    assert shapes.keys() == half.state_dict().keys()
    assert half.state_dict()["dw3_2.conv_sep.weight"].shape == (128, 64, 1, 1)
    published = 4_231_976  # MobileNetV1 with a classifier of 1000 classes
    assert sum(p.numel() for p in wide.parameters()) == published - 1000 * (1024 + 1)
    assert (wide.width, half.width) == (1024, 512)


def randomised(encoder: nn.Module) -> nn.Module:
    """Norms with statistics and scales of their own, and weights that keep the signal's size."""
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias, 0, 0.2)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in")
    return encoder.eval()


@pytest.mark.parametrize(("build", "kind"), [(MobileNetV2Encoder, "MobileNetV2"), (mobilenetv1_05, "MobileNetV1")])
def test_tokens_equal_those_of_transformers(build, kind, monkeypatch):
    """Both list their layers in the order of the picture's way through them."""
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    encoder = randomised(build())
    other = {"hidden_act": "relu", "depth_multiplier": 0.5} if kind == "MobileNetV1" else {}
    config = getattr(transformers, f"{kind}Config")(tf_padding=False, layer_norm_eps=1e-5, **other)
    reference = getattr(transformers, f"{kind}Model")(config).eval()
    names = zip(reference.state_dict(), encoder.state_dict().values(), strict=True)
    reference.load_state_dict(dict(names))
    image = torch.rand(2, 3, 104, 104)
    with torch.no_grad():
        expected = reference((255 * image - 127.5) / 128)
        tokens = encoder(image)
        torch.testing.assert_close(tokens.mT.unflatten(-1, (4, 4)), expected.last_hidden_state, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(pooled(encoder, image), expected.pooler_output, atol=1e-4, rtol=1e-4)
    assert tokens.std() > 0.05


def test_batch_does_not_mix_pictures():
    torch.manual_seed(0)
    for encoder in (randomised(MobileNetV2Encoder()), randomised(MobileNetV1Encoder(multiplier=0.5))):
        images = torch.rand(3, 3, 120, 120)
        with torch.no_grad():
            together = pooled(encoder, images)
            alone = torch.cat([pooled(encoder, image[None]) for image in images])
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
        assert together.std(0).mean() > 1e-3 and encoder(images[:1]).shape == (1, 16, encoder.width)
