"""3DDFA_V2's checkpoints, `mb1_120x120.pth` and `mb05_120x120.pth` (Guo et al. 2020), as M3-LRN's first stage."""

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from facelift.checkpoints.safe_load import fill, read_state
from facelift.models.m3lrn import M3LRN
from facelift.models.m3lrn_config import Backbone, M3LRNConfig

if TYPE_CHECKING:
    from facelift.morphable.linear import LinearModel

_ENCODERS: dict[int, Backbone] = {32: "mobilenetv1", 16: "mobilenetv1_05"}
"""By the channels of the first convolution: mb1 and mb05."""


def load_tddfa(path: Path | str, model: "LinearModel") -> M3LRN:
    """A network without refinement and support, in evaluation mode: picture -> parameters and the 3DMM's landmarks.

    `model` is that of 3DDFA_V2's own files, with its whitening as the file has it, in its own frame. The file's one
    layer of 62 numbers becomes the heads for pose, shape and expression; the branch `fc_lm`, of training alone, is
    dropped. The network takes RGB in [0, 1], 120 px, turns it to BGR itself, and answers in our frame.
    Raises FileNotFoundError, or ValueError naming file, expected and found.
    """
    found = {name.removeprefix("module."): tensor for name, tensor in read_state(path, inside="state_dict").items()}
    state = {name: tensor for name, tensor in found.items() if not name.startswith("fc_lm.")}
    stem = state.get("conv1.weight")
    channels = None if stem is None or not stem.ndim else len(stem)
    if channels not in _ENCODERS:
        raise ValueError(f"{path}: expected conv1.weight of 32 or 16 channels (mb1, mb05), found {channels or 'none'}")
    config = M3LRNConfig(
        encoder=_ENCODERS[channels],
        refine=False,
        support="none",
        released=True,
        shape_size=len(model.shape),
        expression_size=len(model.expression),
    )
    network = M3LRN(config, model)
    own = {name: value for name, value in network.state_dict().items() if not name.startswith(("encoder.", "heads."))}
    names = {name: name.removeprefix("encoder.") for name in network.state_dict()}
    fill(network, own | _split(state, config.sizes, network.encoder.width, path), path=path, names=names)
    return network.eval()


def _split(state: dict[str, Tensor], sizes: dict[str, int], width: int, path: Path | str) -> dict[str, Tensor]:
    """`fc_param` as the three heads."""
    total, split = sum(sizes.values()), dict(state)
    for kind, shape in (("weight", (total, width)), ("bias", (total,))):
        layer = split.pop(f"fc_param.{kind}", None)
        if layer is None or layer.shape != shape:
            found = "none" if layer is None else tuple(layer.shape)
            raise ValueError(f"{path}: expected fc_param.{kind} of shape {shape}, found {found}")
        parts = layer.split(list(sizes.values()))
        split |= {f"heads.{name}.{kind}": part for name, part in zip(sizes, parts, strict=True)}
    return split
