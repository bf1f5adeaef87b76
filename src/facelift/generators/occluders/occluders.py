"""Things before a face: glasses, masks, hands, caps, headscarves and scarves, fitted to any head by its landmarks."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from facelift.generators.occluders.fabric import cap, headscarf, mask, scarf
from facelift.generators.occluders.glasses import glasses
from facelift.generators.occluders.hand import hand
from facelift.generators.occluders.parts import (
    CM,
    TILE,
    HeadShape,
    Part,
)
from facelift.morphable.head import Topology

_CHANCES = {"glasses": 0.22, "mask": 0.09, "hand": 0.14, "cap": 0.1, "headscarf": 0.03, "scarf": 0.05}


class Occluders:
    """What one face wears and holds, in the order in which it was put on."""

    def __init__(self, parts: Sequence[Part] = (), *, over_hair: Sequence[Part] = (), hides_hair: bool = False):
        self.parts = [*parts, *over_hair]
        self._over_hair, self.hides_hair = list(over_hair), hides_hair

    def pressed(self, hair: Float[np.ndarray, "h 3"]) -> Float[np.ndarray, "h 3"]:
        """Hair that keeps under the cap."""
        for worn in self._over_hair:
            centre = worn.vertices.mean(0)
            limit, towards = np.linalg.norm(worn.vertices - centre, axis=1), hair - centre
            tree = cKDTree((worn.vertices - centre) / limit[:, None])
            distance = np.linalg.norm(towards, axis=1, keepdims=True)
            angle, nearest = tree.query(towards / distance)
            under = np.where(angle < 0.12, limit[nearest] - 0.5 * CM, np.inf)[:, None]
            hair = centre + towards * np.minimum(1, under / distance)
        return hair

    def atlas(self) -> tuple[list[Topology], Float[np.ndarray, "h 64 3"]]:
        """Topologies whose uv lie in one picture of all parts, and that picture."""
        pictures = [part.picture for part in self.parts if part.picture is not None]
        atlas = np.concatenate(pictures) if pictures else np.ones((TILE, TILE, 3), np.float32)
        topologies, tile = [], 0
        for part in self.parts:
            uv = part.topology.uv
            if part.picture is not None:
                inner = 0.5 + (uv - 0.5) * (1 - 4 / TILE)
                uv = inner * [1, 1 / len(pictures)] + [0, 1 - (tile + 1) / len(pictures)]
                tile += 1
            topologies.append(replace(part.topology, uv=uv.astype(np.float32)))
        return topologies, np.ascontiguousarray(atlas, np.float32)


def draw(
    rng: np.random.Generator, skin: Float[np.ndarray, "s 3"], marks: Float[np.ndarray, "98 3"], patch: np.ndarray
) -> Occluders:
    """Random things for the head with these skin vertices and landmarks, canonical; none for half of the faces.

    `patch`: texture coordinates of plain skin, for hands.
    """
    chosen = {name for name, chance in _CHANCES.items() if rng.random() < chance}
    head = HeadShape(skin[skin[:, 1] > marks[16, 1] - 0.7 * CM], marks[[0, 32]].mean(0) - [0, 0.1, 0])
    parts, over = [], []
    if "glasses" in chosen:
        parts += glasses(rng, skin, marks)
    if "mask" in chosen:
        parts += mask(rng, head, marks)
    if "headscarf" in chosen:
        parts += headscarf(rng, head, marks)
    elif "cap" in chosen:
        over = cap(rng, skin, marks)
    if "scarf" in chosen:
        parts += scarf(rng, head, marks)
    if "hand" in chosen:
        parts += hand(rng, head, marks, patch, gap_cm=0.8 * ("mask" in chosen))
    return Occluders(parts, over_hair=over, hides_hair="headscarf" in chosen)
