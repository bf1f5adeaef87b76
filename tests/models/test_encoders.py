"""The encoders' common door: names, widths, and the pooled vector."""

import pytest
import torch

from facelift.models.encoders import build_encoder, pooled
from facelift.models.mobile import GlobalMobileEncoder

WIDTHS = {
    "convnext_t": 768,
    "mobilenetv3": 960,
    "swin_t": 768,
    "mobile": 128,
    "mobile_global": 1280,
    "mobilenetv1": 1024,
    "mobilenetv1_05": 512,
    "mobilenetv2": 1280,
    "resnest50": 2048,
    "resnest101": 2048,
    "resnet50": 2048,
    "resnet101": 2048,
    "resnet152": 2048,
    "vit_b16": 768,
}


@pytest.mark.parametrize("name", WIDTHS)
def test_pooled_vector_is_the_mean_of_the_tokens(name):
    with torch.device("meta"):
        encoder = build_encoder(name)
        image = torch.zeros(2, 3, encoder.image_size, encoder.image_size)
        assert pooled(encoder, image).shape == (2, WIDTHS[name]) and encoder.width == WIDTHS[name]


def test_pooled_vector_by_hand():
    tokens = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [5.0, 1.0]]])
    assert pooled(lambda image: tokens, torch.zeros(1, 3, 4, 4)).tolist() == [[3.0, 3.0]]


@torch.no_grad()
def test_global_encoder_weighs_cells_and_starts_at_their_sum():
    torch.manual_seed(0)
    encoder = GlobalMobileEncoder(width=6).eval()
    image = torch.rand(2, 3, 128, 128)
    cells = encoder.expand(encoder.norm(encoder.grid_encoder(image)).transpose(1, 2).unflatten(2, (8, 8)))
    torch.testing.assert_close(pooled(encoder, image), cells.sum((2, 3)) / (1 + 1e-5) ** 0.5)
    weights = torch.rand(6, 8, 8)
    encoder.gather[0].weight[:, 0] = weights
    by_hand = (cells.double() * weights.double()).sum((2, 3)) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(pooled(encoder, image).double(), by_hand, rtol=1e-5, atol=1e-5)


def test_unknown_name_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match=r"encoder: expected small \(mobile\), .*resnest101.*found 'resnet18'"):
        build_encoder("resnet18")
