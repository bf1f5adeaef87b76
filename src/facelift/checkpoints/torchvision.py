"""State dicts in torchvision's format (`resnet50-....pth`) as encoders."""

from pathlib import Path

from torch import nn

from facelift.checkpoints.safe_load import fill, read_state

CLASSIFIERS = ("fc.", "head.", "classifier.")
"""Beginnings of the names of what tells ImageNet's classes apart."""


def load_torchvision(encoder: nn.Module, path: Path | str) -> None:
    """Copies a ResNet, ConvNeXt, Swin or MobileNetV3 into `encoder`, without its classifier.

    Raises FileNotFoundError, or ValueError naming file, expected and found.
    """
    own = encoder.state_dict()
    state = {name: value for name, value in read_state(path).items() if name in own or not name.startswith(CLASSIFIERS)}
    fill(encoder, state, path=path)
