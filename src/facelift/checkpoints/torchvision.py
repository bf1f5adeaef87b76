"""State dicts of ResNets in torchvision's format (`resnet50-....pth`) as encoders."""

from pathlib import Path

from facelift.checkpoints.safe_load import fill, read_state
from facelift.models.resnet import ResNetEncoder


def load_torchvision(encoder: ResNetEncoder, path: Path | str) -> None:
    """Copies the convolutional part into `encoder`; the classifier `fc` is dropped.

    Raises FileNotFoundError, or ValueError naming file, expected and found.
    """
    state = {name: tensor for name, tensor in read_state(path).items() if not name.startswith("fc.")}
    fill(encoder, state, path=path)
