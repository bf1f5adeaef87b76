"""The backbones beside torchvision's own modules with the same random weights, where torchvision is installed."""

import pytest
import torch

from facelift.checkpoints.torchvision import load_torchvision
from facelift.models.encoders import build_encoder
from facelift.models.mobile import MEAN, STD

torchvision = pytest.importorskip("torchvision", reason="torchvision is no dependency: pip install torchvision")


def _features(name: str, model: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    """The last feature map (b, c, h, w) of torchvision's module, with ConvNeXt's last norm."""
    if name == "resnet50":
        for part in list(model.children())[:-2]:
            image = part(image)
        return image
    found = model.features(image)
    if name == "convnext_t":
        return model.classifier[0](found)
    return model.permute(model.norm(found)) if name == "swin_t" else found


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("resnet50", "resnet50"),
        ("convnext_t", "convnext_tiny"),
        ("swin_t", "swin_t"),
        ("mobilenetv3", "mobilenet_v3_large"),
    ],
)
def test_outputs_are_torchvisions(name, theirs, tmp_path):
    torch.manual_seed(0)
    model = getattr(torchvision.models, theirs)(weights=None).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    ours = build_encoder(name)
    load_torchvision(ours, tmp_path / "weights.pth")
    image = torch.rand(2, 3, 128, 128)
    with torch.no_grad():
        normed = (image - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
        expected = _features(name, model, normed).flatten(2).transpose(1, 2)
        torch.testing.assert_close(ours.eval()(image), expected, rtol=1e-5, atol=1e-5)
