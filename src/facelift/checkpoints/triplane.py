"""EG3D's and PanoHead's checkpoints, official (.pkl) or converted (.safetensors), and runs of `facelift train-gan`."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from facelift.checkpoints.checkpoint import Checkpoint, open_checkpoint
from facelift.checkpoints.safe_load import fill
from facelift.geometry.gan_cameras import front_label
from facelift.models.stylegan2 import Noise, SynthesisConfig
from facelift.models.triplane import TriPlaneConfig, TriPlaneGenerator
from facelift.models.volume import AXES, RayConfig

NETWORK = "G_ema"
_REFUSED = {
    "white_back": (False,),
    "disparity_space_sampling": (False,),
    "clamp_mode": ("softplus",),
    "decoder_activation": ("sigmoid", "none", "lrelu"),
    "superresolution_module": ("SuperresolutionHybrid8XDC", "SuperresolutionHybrid8X"),
    "sr_antialias": (True,),
}
"""Settings of rendering that are not implemented with other values than these; of classes, their last name."""
_PANOHEAD_CROP = 0.1
"""Default of its renderer, which files do not hold."""
_UNUSED = "t_mapping."
"""PanoHead's second mapping, from a latent to a shift of the camera: for its training alone."""


def load_generator(path: Path | str) -> TriPlaneGenerator:
    """The averaged generator of a file, or of a run folder of `facelift train-gan`, for inference.

    Sizes come from the tensors, settings from the file; a bare file of tensors is taken for EG3D's for FFHQ. What is a
    PanoHead is told by its background or grids of more than one cell. Raises FileNotFoundError, or ValueError naming
    file, expected and found, where names, shapes or settings are others.
    """
    path = Path(path)
    if path.is_dir():
        return _of_run(path)
    found = open_checkpoint(path)
    if not any(name.startswith(f"{NETWORK}.backbone.") for name in found.tensors):
        raise ValueError(f"{path}: expected tensors {NETWORK}.backbone.* of EG3D or PanoHead, found none")
    state = {name: tensor for name, tensor in found.part(NETWORK).items() if not name.startswith(_UNUSED)}
    config = config_of(state, found)
    _check_axes(found, config.axes)
    rate = _rate(found)
    state |= {name: rate * tensor for name, tensor in state.items() if rate != 1 and name.startswith("decoder.net.")}
    network = TriPlaneGenerator(config)
    fill(network, state, path=path, names=_file_names(network.state_dict(), state))
    return network.eval().requires_grad_(False)


def _of_run(folder: Path) -> TriPlaneGenerator:
    config = folder / "config.json"
    noted = json.loads(config.read_text()) if config.is_file() else {}
    if noted.get("task") != "gan":
        raise ValueError(f"{folder}: expected a run folder of `facelift train-gan`, found {noted.get('task', 'none')}")
    network = TriPlaneGenerator(_small_config(noted["network"]))
    state = open_checkpoint(folder / "checkpoint.pt").part("averaged")
    fill(network, state, path=folder / "checkpoint.pt")
    front = front_label(network.config.look_at, network.config.rays.radius)
    network.centre(torch.as_tensor(front, dtype=torch.float32)[None])
    return network.eval().requires_grad_(False)


def _small_config(noted: dict[str, Any]) -> TriPlaneConfig:
    parts: dict[str, Any] = _tuples(noted)
    for key, kind in (("backbone", SynthesisConfig), ("background", SynthesisConfig), ("rays", RayConfig)):
        if parts[key] is not None:
            inner: dict[str, Any] = _tuples(parts[key])
            parts[key] = kind(**inner)
    return TriPlaneConfig(**parts)


def _tuples(noted: dict[str, Any]) -> dict[str, Any]:
    """JSON's lists as the tuples that they were."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in noted.items()}


def config_of(state: dict[str, Tensor], found: Checkpoint) -> TriPlaneConfig:
    """Sizes by the tensors, the rest by the file's settings. Raises ValueError for what is not implemented."""
    settings = found.settings.get(NETWORK) or {}
    rendering = _rendering(found)
    for key, allowed in _REFUSED.items():
        value = rendering.get(key, allowed[0])
        if (value.rpartition(".")[2] if isinstance(value, str) else value) not in allowed:
            raise ValueError(f"{found.path}: expected {key} = {allowed[0]!r}, found {value!r}")
    try:
        widths = _widths(state, "backbone.synthesis")
        clamp = _clamp(found, "backbone.synthesis.b4.conv1", None)
        w_size, c_size = state["backbone.mapping.embed.weight"].shape
        channels = len(state[f"backbone.synthesis.b{4 << (len(widths) - 1)}.torgb.weight"])
        features = state["decoder.net.0.weight"].shape[1]
        behind = _background(state)
        depth = int(rendering.get("triplane_depth", channels // (3 * features)))
        panohead = depth > 1 or behind is not None
        layers = len({name for name in state if re.fullmatch(r"backbone\.mapping\.fc\d+\.weight", name)})
        return TriPlaneConfig(
            axes="panohead" if panohead else "eg3d",
            z_size=state["backbone.mapping.fc0.weight"].shape[1] - w_size,
            c_size=c_size,
            mapping_layers=layers,
            backbone=SynthesisConfig(widths, channels, w_size, clamp),
            grid_depth=depth,
            hidden=len(state["decoder.net.0.weight"]),
            rays=RayConfig(
                near=float(rendering.get("ray_start", 2.25)),
                far=float(rendering.get("ray_end", 3.3)),
                radius=float(rendering.get("avg_camera_radius", 2.7)),
                coarse=int(rendering.get("depth_resolution", 48)),
                fine=int(rendering.get("depth_resolution_importance", 48)),
            ),
            box=float(rendering.get("box_warp", 1.0)),
            raw_size=int(settings.get("neural_rendering_resolution", 128)),
            upsampler=tuple(len(state[f"superresolution.block{index}.conv1.weight"]) for index in (0, 1)),
            upsampler_clamp=_clamp(found, "superresolution.block0.conv1", 256.0),
            upsampler_noise=cast(Noise, rendering.get("superresolution_noise_mode", "none")),
            background=behind,
            own_rgb=_prefix(state, "torgb.weight", ("torgb", "decoder.torgb")) is not None,
            c_scale=_condition_scale(rendering),
            look_at=_pivot(rendering.get("avg_camera_pivot"), (0, 0, 0) if panohead else (0, 0, 0.2)),
            decoder_activation=rendering.get("decoder_activation", "sigmoid"),
            crop=_PANOHEAD_CROP if panohead else 0.0,
        )
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ValueError(
            f"{found.path}: expected EG3D's or PanoHead's tensors, found none that fit: {error}"
        ) from error


def _rendering(found: Checkpoint) -> dict[str, Any]:
    return (found.settings.get(NETWORK) or {}).get("rendering_kwargs") or {}


def _condition_scale(rendering: dict[str, Any]) -> float:
    """0 where the mapping learned without a condition. Files whose settings name no scale are read with 0, too, by the
    released code; a file without settings is taken for FFHQ's, with 1."""
    if rendering.get("c_gen_conditioning_zero"):
        return 0.0
    return float(rendering.get("c_scale", 0.0 if rendering else 1.0))


def _rate(found: Checkpoint) -> float:
    """The decoder's `decoder_lr_mul`, by which its weights and biases count."""
    rate = _rendering(found).get("decoder_lr_mul", 1)
    if not isinstance(rate, int | float) or not 0 < rate < float("inf"):
        raise ValueError(f"{found.path}: expected decoder_lr_mul above 0, found {rate!r}")
    return float(rate)


def _check_axes(found: Checkpoint, family: str) -> None:
    """Compares the planes that the renderer was saved with, where it was, with those that its kind is read with: rows
    of unit vectors, what lies along a plane's columns, rows and depth."""
    noted = (found.settings.get(f"{NETWORK}.renderer") or {}).get("plane_axes")
    wanted = [[[float(axis == k) for k in range(3)] for axis in plane] for plane in AXES[family]]
    if noted is not None and noted != wanted:
        raise ValueError(f"{found.path}: expected plane_axes of {family}, {wanted}, found {noted}")


def _widths(state: dict[str, Tensor], prefix: str) -> tuple[int, ...]:
    sides = sorted(
        int(m[1]) for name in state if (m := re.fullmatch(rf"{re.escape(prefix)}\.b(\d+)\.conv1\.weight", name))
    )
    if not sides or sides != [4 << index for index in range(len(sides))]:
        raise ValueError(f"grids of {prefix} of side {sides}")
    return tuple(len(state[f"{prefix}.b{side}.conv1.weight"]) for side in sides)


def _prefix(state: Iterable[str], name: str, known: tuple[str, ...]) -> str | None:
    last = name.partition(".")[2]
    return next((prefix for prefix in known if f"{prefix}.{last}" in state), None)


def _background_prefix(state: Iterable[str]) -> str | None:
    """Of the synthesis network that is not the backbone's, by its constant: `bcg_synthesis` in PanoHead's files."""
    for name in state:
        if name.endswith(".b4.const") and not name.startswith("backbone."):
            return name.removesuffix(".b4.const")
    return None


def _background(state: dict[str, Tensor]) -> SynthesisConfig | None:
    prefix = _background_prefix(state)
    if prefix is None:
        return None
    widths = _widths(state, prefix)
    channels = len(state[f"{prefix}.b{4 << (len(widths) - 1)}.torgb.weight"])
    return SynthesisConfig(widths, channels, state[f"{prefix}.b4.conv1.affine.weight"].shape[1])


def _clamp(found: Checkpoint, layer: str, otherwise: float | None) -> float | None:
    clamp = (found.settings.get(f"{NETWORK}.{layer}") or {}).get("conv_clamp", otherwise)
    return None if clamp is None else float(clamp)


def _pivot(noted: Any, otherwise: tuple[float, float, float]) -> tuple[float, float, float]:
    x, y, z = noted or otherwise
    return float(x), float(y), float(z)


def _file_names(own: Iterable[str], state: dict[str, Tensor]) -> dict[str, str]:
    """The file's name of each of our tensors."""
    places = {
        "background": _background_prefix(state),
        "torgb": _prefix(state, "torgb.weight", ("torgb", "decoder.torgb")),
    }
    names = {}
    for name in own:
        head, _, rest = name.partition(".")
        names[name] = f"{places[head]}.{rest}" if places.get(head) else name
    return names
