"""Contact sheets of labelled frames: what was kept, and what was rejected and why."""

import cv2
import numpy as np
from jaxtyping import UInt8

from facelift.labelling.gates import KEPT
from facelift.labelling.shards import Shard, load_shard, shard_paths
from facelift.scale.store import Place, Store

_TILE, _COLUMNS, _ROWS = 192, 10, 6


def draw_sheets(folder: Place) -> None:
    """Writes kept.jpg and rejected.jpg of a folder of shards, each of faces evenly drawn from all shards."""
    paths = shard_paths(folder)
    for name in ("kept", "rejected"):
        rows = [
            (path, face)
            for path in paths
            for face in np.flatnonzero((load_shard(path).reason == KEPT) == (name == "kept")).tolist()
        ]
        if not rows:
            continue
        chosen = [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, _COLUMNS * _ROWS).astype(int))]
        tiles = []
        for path in dict.fromkeys(path for path, _ in chosen):
            shard = load_shard(path)
            tiles += [_tile(shard, face) for other, face in chosen if other == path]
        Store(folder).write(f"{name}.jpg", cv2.imencode(".jpg", _grid(tiles)[..., ::-1])[1].tobytes())


def _tile(shard: Shard, face: int) -> UInt8[np.ndarray, "t t 3"]:
    """The crop with its points, and the reason and measures below."""
    image = shard.image(face)
    canvas = cv2.resize(image, (_TILE, _TILE), interpolation=cv2.INTER_LINEAR)
    for x, y in shard.points[face] * _TILE / len(image):
        if np.isfinite([x, y]).all():
            cv2.circle(canvas, (round(float(x) * 8 - 4), round(float(y) * 8 - 4)), 10, (0, 255, 80), -1, cv2.LINE_AA, 3)
    size, inside, sigma, flip = shard.measures[face]
    text = f"{shard.reason[face]} {size:.0f}px s{100 * sigma:.1f} f{100 * flip:.1f} i{100 * inside:.0f}"
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(canvas, text, (3, _TILE - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.36, colour, width, cv2.LINE_AA)
    return canvas


def _grid(tiles: list[np.ndarray]) -> UInt8[np.ndarray, "h w 3"]:
    columns = min(_COLUMNS, len(tiles))
    tiles = tiles + [np.full_like(tiles[0], 128)] * (-len(tiles) % columns)
    return np.concatenate([np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)])
