"""`facelift train detector|finder|lifter`: importable without torch, so that its help is quick."""

from pathlib import Path
from typing import Annotated

import tyro

from facelift.training.config import DetectorConfig, FinderConfig, LifterConfig

_Lifter = Annotated[LifterConfig, tyro.conf.subcommand("lifter")]
_Detector = Annotated[DetectorConfig, tyro.conf.subcommand("detector")]
_Finder = Annotated[FinderConfig, tyro.conf.subcommand("finder")]
TrainConfig = _Lifter | _Detector | _Finder


def train(config: LifterConfig | DetectorConfig | FinderConfig) -> Path:
    """Trains what the config is of, or goes on; returns the checkpoint."""
    if isinstance(config, DetectorConfig):
        from facelift.training.detector_task import train_detector

        return train_detector(config)
    if isinstance(config, FinderConfig):
        from facelift.training.finder_task import train_finder

        return train_finder(config)
    from facelift.training.lifter_task import train_lifter

    return train_lifter(config)
