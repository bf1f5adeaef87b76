"""The sources of a training, from its settings; importable without torch."""

from pathlib import Path

from facelift.datasets.views import views_settings
from facelift.morphable.linear import load_linear_model
from facelift.onnx_models.lifter import weights_path
from facelift.scale.store import Store
from facelift.sources import (
    DAD3DHEADS,
    FARL,
    LAPA,
    MEDIAPIPE,
    TORCHVISION,
    W300LP,
    WFLW,
    Source,
    exported_sources,
    noted_sources,
    packed_source,
    scene_sources,
)
from facelift.training.config import DenseTrainConfig, DetectorConfig, LifterConfig, M3LRNTrainConfig

KNOWN = {
    "labels": MEDIAPIPE,
    "mesh": MEDIAPIPE,
    "wflw": WFLW,
    "lapa": LAPA,
    "w300lp": W300LP,
    "farl": FARL,
    "resnet": TORCHVISION,
    "torchvision": TORCHVISION,
    "dad3dheads": DAD3DHEADS,
}
"""What stands behind an option, whatever the file."""
NOTES = {"views": "views.json", "frames": "frames.json"}
"""Options that name a folder or several, and the file there in which the stage that wrote it lists its sources."""
CHECKPOINTS = ("detector", "start", "encoder_start", "teacher")
"""Options that name an exported file, which carries them, or a checkpoint or its run folder, where config.json does."""


def training_sources(config: DetectorConfig | LifterConfig | M3LRNTrainConfig | DenseTrainConfig) -> list[Source]:
    """All that the weights will learn from. Faces that are only measured (`dev_set`) teach nothing.

    A new option that names a file has its line in one of the three tables; a test asks for it.
    """
    found = [packed_source(name) for name in config.sets]
    given = {name: value for name, value in vars(config).items() if value}
    found += [source for name, source in KNOWN.items() if name in given]
    for name, note in NOTES.items():
        folders = given.get(name, ())
        for folder in folders if isinstance(folders, tuple) else (folders,):
            store = Store(folder)
            found += noted_sources(store.on_disk(note) if store.exists(note) else Path(note))
    if isinstance(config, M3LRNTrainConfig):
        found += load_linear_model(config.model).sources
    if isinstance(config, LifterConfig) and config.render:
        found += scene_sources(views_settings(config.views)["generator"], config.data)
    for name in CHECKPOINTS:
        if name in given:
            path = weights_path(given[name])
            run = path if path.is_dir() else path.parent
            exported = path.suffix == ".onnx"
            found += exported_sources(str(path)) if exported else noted_sources(run / "config.json")
    return list(dict.fromkeys(found))
