"""`facelift label fill` and `facelift label frames`."""

from typing import Annotated

import tyro

from facelift.datasets.pseudo_labels import FillConfig, fill
from facelift.labelling.stage import FramesConfig, label_frames
from facelift.scale.store import Place

_Fill = Annotated[FillConfig, tyro.conf.subcommand("fill")]
_Frames = Annotated[FramesConfig, tyro.conf.subcommand("frames")]
LabelConfig = _Fill | _Frames


def label(config: FillConfig | FramesConfig) -> Place:
    """Runs the command; the path of what it wrote."""
    return fill(config) if isinstance(config, FillConfig) else label_frames(config)
