"""`facelift train-gan`: importable without torch, so that its help is quick."""

from pathlib import Path

from facelift.training.gan_config import GanConfig


def train_gan(config: GanConfig) -> Path:
    """Trains what the config says, or goes on; returns the checkpoint."""
    from facelift.training.gan_task import train_small_gan

    return train_small_gan(config)
