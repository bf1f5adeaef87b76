"""A trained checkpoint as one ONNX file that runs without torch."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from facelift.atomic import written_whole
from facelift.exporting.networks import flat_outputs, input_size, load_network
from facelift.onnx_models.lifter import FORMAT
from facelift.onnx_models.session import open_session
from facelift.sources import Source, listed, noted_sources, unrecorded

TOLERANCE_PX = 1e-4
"""Largest difference of projected points between torch and ONNX that an export may show, px of the input."""
FINDER_TOLERANCE_PX = 1e-2
"""The same of a face finder's boxes and points: those of cells without a face may be thousands of px wide."""
WIDTHS = ("lifter", "detector", "dense")
"""Tasks whose networks give points in crop widths."""


@dataclass(frozen=True)
class ExportConfig:
    """Write a run's averaged weights as ONNX, and check that ONNX Runtime gives torch's points."""

    run: Path
    """Run folder of `facelift train`; or a released checkpoint: SynergyNet's best.pth.tar, or 3DDFA_V2's mb1 or mb05
    with --mesh."""
    out: Path
    """The .onnx file."""
    name: str = "facelift-small"
    """Name written into the file."""
    card: Path | None = None
    """Markdown card (training data, terms, metrics) to carry inside the file."""
    mesh: Path | None = None
    """Linear model by `facelift morphable` that an M3-LRN learned: the exported file then gives the whole mesh."""
    permissive: bool = False
    """Refuse weights unless all that they were made from is free for any use."""


def export(config: ExportConfig) -> Path:
    """Writes the file under its name only after the check; returns its path.

    Raises FileNotFoundError for a folder without a run, ValueError if torch and ONNX differ by more than TOLERANCE_PX
    (a face finder: FINDER_TOLERANCE_PX), or for sources that are not free under `permissive`.
    """
    released = config.run.is_file()
    sources = [unrecorded(config.run)] if released else noted_sources(config.run / "config.json")
    import onnx

    from facelift.exporting.dense import constants, dense_metadata
    from facelift.exporting.mesh import add_constants, load_released, m3lrn_metadata, with_mesh
    from facelift.morphable.linear import load_linear_model
    from facelift.morphable.vertex_sets import VERTICES, load_vertex_sets
    from facelift.onnx_models.constants import add_outputs

    card = config.card.read_text(encoding="utf-8") if config.card else ""
    mesh = load_linear_model(config.mesh) if config.mesh else None
    task: str
    model: Any
    task, model = ("m3lrn", load_released(config.run, mesh)) if released else load_network(config.run)
    if mesh and task != "m3lrn":
        raise ValueError(f"--mesh: expected the run of an M3-LRN, found {config.run} of a {task}")
    sources += mesh.sources if mesh else ()
    if config.permissive:
        _check_free(config.run, sources)
    vertices = load_vertex_sets(config.run / VERTICES) if task == "dense" else None
    wrapped, outputs = with_mesh(model, mesh) if task == "m3lrn" else flat_outputs(task, model)
    finder = task == "finder"
    size = input_size(task, model)
    tolerance = FINDER_TOLERANCE_PX if finder else TOLERANCE_PX
    with written_whole(config.out) as partial:
        _write_onnx(wrapped, partial, size, outputs, any_size=finder)
        graph = onnx.load(partial)
        _forget_its_making(graph)
        if mesh:
            add_constants(graph, mesh)
        if vertices:
            add_outputs(graph, constants(model, vertices))
        onnx.checker.check_model(graph)
        onnx.save(graph, partial)
        difference = parity_px(wrapped, partial, probe(size), unit_px=size if task in WIDTHS else 1)
        if not difference <= tolerance:  # NaN is no agreement
            found = f"{difference:.2g} px"
            raise ValueError(f"{config.out}: expected torch and ONNX within {tolerance} px, found {found}")
        metadata = {
            "facelift_format": FORMAT,
            "task": task,
            "name": config.name,
            "card": json.dumps(card),
            "sources": json.dumps(listed(sources)),
        }
        if not finder:
            metadata |= {"scheme": "ibug68" if task == "m3lrn" else "wflw98", "input_size": str(size)}
        if task in ("texture", "dense"):
            del metadata["scheme"]
        if vertices:
            metadata |= dense_metadata(model, vertices)
        if task == "m3lrn":
            metadata |= m3lrn_metadata(model)
        onnx.helper.set_model_props(graph, metadata)
        onnx.save(graph, partial)
    return config.out


def _check_free(run: Path, sources: list[Source]) -> None:
    traps = [f"{source.name} ({source.terms})" for source in sources if not source.free]
    if traps:
        raise ValueError(f"{run}: expected sources that are free for any use, found {'; '.join(traps)}")


def _forget_its_making(graph: Any) -> None:
    """Takes out the exporter's notes on every node: stack traces, with the paths of the machine that they come from."""
    for message in (graph, graph.graph, *graph.graph.node, *graph.graph.value_info, *graph.functions):
        message.ClearField("doc_string")
        message.ClearField("metadata_props")
    for function in graph.functions:
        for message in (*function.node, *function.value_info):
            message.ClearField("doc_string")
            message.ClearField("metadata_props")


def probe(size: int) -> np.ndarray:
    """The committed input of the check: two faces, cut from examples/astronaut.jpg, (2, 3, size, size) in [0, 1].

    Faces, because they are what the network is for: on patterns it never saw float32 alone is 1e-4 px from float64.
    """
    with Image.open(str(resources.files("facelift") / "weights" / "probe.png")) as picture:
        faces = np.split(np.asarray(picture.convert("RGB")), 2, axis=1)
    resized = np.stack([cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA) for face in faces])
    return resized.transpose(0, 3, 1, 2).astype(np.float32) / 255


def parity_px(wrapped: Any, onnx_file: Path, image: np.ndarray, *, unit_px: float) -> float:
    """Largest difference of the points, and boxes, between torch and ONNX Runtime, px of the input; NaN where another
    output differs by 0.001 or one is not finite. `unit_px`: px of what the network gives points in."""
    import torch

    session = open_session(onnx_file)
    with torch.no_grad():
        expected = wrapped(torch.as_tensor(image))
    names = [output.name for output in session.get_outputs()][: len(expected)]  # constants of a mesh follow
    found = dict(zip(names, session.run(names, {"image": image}), strict=True))
    differences = {name: np.abs(found[name] - value.numpy()).max() for name, value in zip(names, expected, strict=True)}
    if "parameters" in differences:  # of a 3DMM: coefficients may be as large as 1e6, by the model's own unit
        own = dict(zip(names, expected, strict=True))["parameters"].numpy()
        differences["parameters"] = (np.abs(found["parameters"] - own) / np.maximum(np.abs(own), 1)).max()
    places = ("points", "boxes", "coarse", "vertices")
    points = [float(value) for name, value in differences.items() if name.startswith(places)]
    others = [value for name, value in differences.items() if not name.startswith(places)]
    if not np.isfinite(points).all() or not all(value < 1e-3 for value in others):
        return float("nan")
    return max(points, default=0.0) * unit_px


def _write_onnx(wrapped: Any, path: Path, size: int, outputs: list[str], *, any_size: bool) -> None:
    import torch

    from facelift.finders.network import MULTIPLE

    free = {0: torch.export.Dim("batch")}
    if any_size:
        free |= {2: MULTIPLE * torch.export.Dim("rows"), 3: MULTIPLE * torch.export.Dim("columns")}

    with _quiet("torch.onnx", "onnxscript", "onnx_ir"):
        torch.onnx.export(
            wrapped,
            (torch.zeros(2, 3, size, size),),
            str(path),
            dynamo=True,
            external_data=False,
            input_names=["image"],
            output_names=outputs,
            dynamic_shapes={"image": free},
            verbose=False,
        )


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Silences loggers that say a line for every node, and warnings."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
