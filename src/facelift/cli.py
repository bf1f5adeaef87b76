"""The command line: a table of commands, each a frozen dataclass that tyro reads and a function that takes it."""

import importlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from facelift import __version__


@dataclass(frozen=True)
class Command:
    """Where a command lives. Its module is imported when it is called, so the help needs no torch."""

    summary: str
    module: str
    config: str
    function: str
    """Takes the config. What it returns: an int is the exit code, a path is printed."""


COMMANDS = {
    "predict": Command("faces of photos and videos", "facelift.commands.predict", "PredictConfig", "predict"),
    "detect": Command("2D landmarks by a detector", "facelift.commands.detect", "DetectConfig", "detect"),
    "render": Command("views of synthetic heads", "facelift.generators.stage", "RenderConfig", "render_views"),
    "lift": Command("3D labels from 2D views", "facelift.lifting.stage", "LiftConfig", "lift"),
    "check-generator": Command(
        "whether a generator's cameras are what they are taken for",
        "facelift.lifting.consistency",
        "CheckConfig",
        "check_generator",
    ),
    "label": Command("2D labels for photos and videos", "facelift.commands.label", "LabelConfig", "label"),
    "morphable": Command(
        "a linear face model of a head, or of released files", "facelift.commands.morphable", "MorphableConfig", "build"
    ),
    "vertices": Command("dense landmarks of a head", "facelift.commands.vertices", "VerticesConfig", "build"),
    "fit": Command("3D heads fitted to landmarks", "facelift.commands.fit", "FitCommand", "fit"),
    "mesh": Command("MediaPipe's dense points of photos", "facelift.datasets.mesh_labels", "MeshConfig", "mesh"),
    "views": Command("rendered views for training", "facelift.datasets.views", "ViewsConfig", "build_views"),
    "shards": Command("what a folder of shards holds", "facelift.commands.shards", "ShardsConfig", "list_shards"),
    "heads": Command(
        "rendered whole heads for the face finder", "facelift.datasets.heads", "HeadsConfig", "build_heads"
    ),
    "train-gan": Command("a small 3D-aware GAN", "facelift.commands.train_gan", "GanConfig", "train_gan"),
    "train": Command(
        "lifter, detector, finder, m3lrn, texture, dense", "facelift.training.command", "TrainConfig", "train"
    ),
    "evaluate": Command(
        "tables of accuracy from predictions files", "facelift.commands.evaluate", "EvaluateConfig", "evaluate"
    ),
    "inspect-checkpoint": Command(
        "what a file of weights holds; nothing of it is run",
        "facelift.commands.inspect_checkpoint",
        "InspectConfig",
        "inspect",
    ),
    "export": Command("trained weights as ONNX", "facelift.exporting.onnx_file", "ExportConfig", "export"),
}

EXTRAS = {"ray": "ray", "fsspec": "stores"}
"""Which extra brings a package; the others come with `train`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `facelift COMMAND ...`; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"facelift {__version__}")
        return 0
    name = arguments.pop(0)
    if name not in COMMANDS:
        print(f"facelift: expected a command among {', '.join(COMMANDS)}, found {name!r}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return _run(name, COMMANDS[name], arguments)


def _run(name: str, command: Command, arguments: list[str]) -> int:
    try:
        module = importlib.import_module(command.module)
    except ModuleNotFoundError as error:
        return _missing(name, error)
    import tyro

    config = tyro.cli(getattr(module, command.config), prog=f"facelift {name}", args=arguments)
    try:
        result = getattr(module, command.function)(config)
    except ModuleNotFoundError as error:
        return _missing(name, error)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        from facelift.commands.report import explain, tell

        tell(f"facelift {name}: {explain(error)}")
        return 1
    except KeyboardInterrupt:
        print(f"\nfacelift {name}: stopped", file=sys.stderr)
        return 130
    if isinstance(result, int):
        return result
    if result is not None:
        print(result)
    return 0


def _missing(name: str, error: ModuleNotFoundError) -> int:
    """Tells which package of the extra is not installed; raises the error again if the module is our own."""
    package = (error.name or "").partition(".")[0]
    if package == "facelift":
        raise error
    extra = EXTRAS.get(package, "train")
    print(f"facelift {name}: needs {package}, not installed: pip install '.[{extra}]' in a clone", file=sys.stderr)
    return 1


def _help() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items())
    return (
        "facelift: 3D facial landmarks with uncertainty, visibility and head pose\n\n"
        f"usage: facelift COMMAND [options]\n\n{rows}\n\n"
        "`facelift COMMAND --help` tells a command's options; `facelift --version` the version."
    )


if __name__ == "__main__":
    sys.exit(main())
