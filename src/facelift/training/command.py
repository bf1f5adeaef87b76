"""`facelift train detector|finder|lifter|m3lrn`: importable without torch, so that its help is quick."""

from pathlib import Path
from typing import Annotated

import tyro

from facelift.training.config import DetectorConfig, FinderConfig, LifterConfig, M3LRNTrainConfig

_Lifter = Annotated[LifterConfig, tyro.conf.subcommand("lifter")]
_Detector = Annotated[DetectorConfig, tyro.conf.subcommand("detector")]
_Finder = Annotated[FinderConfig, tyro.conf.subcommand("finder")]
_M3LRN = Annotated[M3LRNTrainConfig, tyro.conf.subcommand("m3lrn")]
TrainConfig = _Lifter | _Detector | _Finder | _M3LRN


def train(config: LifterConfig | DetectorConfig | FinderConfig | M3LRNTrainConfig) -> Path:
    """Trains what the config is of, or goes on; returns the checkpoint."""
    if isinstance(config, DetectorConfig):
        from facelift.training.detector_task import train_detector

        return train_detector(config)
    if isinstance(config, FinderConfig):
        from facelift.training.finder_task import train_finder

        return train_finder(config)
    if isinstance(config, M3LRNTrainConfig):
        from facelift.training.m3lrn_task import train_m3lrn

        return train_m3lrn(config)
    from facelift.training.lifter_task import train_lifter

    return train_lifter(config)
