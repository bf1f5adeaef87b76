"""The encoders' common door: names, widths, and the pooled vector."""

import pytest
import torch

from facelift.models.encoders import build_encoder, pooled

WIDTHS = {
    "mobile": 128,
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


def test_unknown_name_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match=r"encoder: expected small \(mobile\), .*resnest101.*found 'resnet18'"):
        build_encoder("resnet18")
