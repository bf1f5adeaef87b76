"""MobileNetV1 and V2: the published names, shapes and sizes, and parity with `transformers`."""

import os

import pytest
import torch
from torch import nn

from facelift.models.encoders import pooled
from facelift.models.mobilenetv1 import MobileNetV1Encoder, mobilenetv1, mobilenetv1_05
from facelift.models.mobilenetv2 import MobileNetV2Encoder
from published_names import mobilenetv2_shapes, tddfa_shapes


def test_mobilenetv2_has_torchvisions_names_shapes_and_size():
    with torch.device("meta"):
        encoder = MobileNetV2Encoder()
    assert {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()} == mobilenetv2_shapes()
    published = 3_504_872  # with torchvision's classifier of 1000 classes
    assert sum(p.numel() for p in encoder.parameters()) == published - 1000 * (1280 + 1)
    assert (encoder.width, encoder.image_size) == (1280, 120)


def test_mobilenetv1_has_the_names_and_shapes_of_3ddfa():
    with torch.device("meta"):
        wide, narrow = mobilenetv1(), mobilenetv1_05()
    for encoder, half in ((wide, False), (narrow, True)):
        published = {name: shape for name, shape in tddfa_shapes(half=half).items() if not name.startswith("fc_")}
        assert {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()} == published
    published = 4_231_976  # MobileNetV1 with a classifier of 1000 classes
    assert sum(p.numel() for p in wide.parameters()) == published - 1000 * (1024 + 1)
    assert (wide.width, narrow.width) == (1024, 512)


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
