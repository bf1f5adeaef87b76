"""`facelift train detector|finder|lifter|m3lrn|texture|dense`: importable without torch, so that its help is quick."""

from pathlib import Path
from typing import Annotated

import tyro

from facelift.training.config import (
    DenseTrainConfig,
    DetectorConfig,
    FinderConfig,
    LifterConfig,
    M3LRNTrainConfig,
)
from facelift.training.gan_config import TextureConfig

_Lifter = Annotated[LifterConfig, tyro.conf.subcommand("lifter")]
_Detector = Annotated[DetectorConfig, tyro.conf.subcommand("detector")]
_Finder = Annotated[FinderConfig, tyro.conf.subcommand("finder")]
_M3LRN = Annotated[M3LRNTrainConfig, tyro.conf.subcommand("m3lrn")]
_Texture = Annotated[TextureConfig, tyro.conf.subcommand("texture")]
_Dense = Annotated[DenseTrainConfig, tyro.conf.subcommand("dense")]
TrainConfig = _Lifter | _Detector | _Finder | _M3LRN | _Texture | _Dense
AnyConfig = LifterConfig | DetectorConfig | FinderConfig | M3LRNTrainConfig | TextureConfig | DenseTrainConfig


def train(config: AnyConfig) -> Path:
    """Trains what the config is of, or goes on; returns the checkpoint."""
    import torch  # noqa: F401 (says that it is missing before hours of preparing data)

    if isinstance(config, DetectorConfig):
        from facelift.training.detector_task import train_detector

        return train_detector(config)
    if isinstance(config, FinderConfig):
        from facelift.training.finder_task import train_finder

        return train_finder(config)
    if isinstance(config, M3LRNTrainConfig):
        from facelift.training.m3lrn_task import train_m3lrn

        return train_m3lrn(config)
    if isinstance(config, TextureConfig):
        from facelift.training.texture_task import train_texture

        return train_texture(config)
    if isinstance(config, DenseTrainConfig):
        from facelift.training.dense_task import train_dense

        return train_dense(config)
    from facelift.training.lifter_task import train_lifter

    return train_lifter(config)
