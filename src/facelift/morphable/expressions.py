"""Plausible random expressions in ARKit's names: one or two archetypes, blinks, brows, gaze and a little of
everything."""

import numpy as np
from jaxtyping import Float

# Archetype -> shapes with (fixed amount, random extra) as multiples of the archetype's strength.
ARCHETYPES: tuple[dict[str, tuple[float, float]], ...] = (
    {},
    {
        "mouthSmile": (1, 0),
        "cheekSquint": (0.6, 0),
        "eyeSquint": (0.4, 0),
        "mouthUpperUp": (0.35, 0),
        "jawOpen": (0, 0.3),
    },
    {"jawOpen": (1, 0), "browInnerUp": (0, 1), "eyeWide": (0, 1)},
    {"mouthFrown": (1, 0), "browDown": (0, 1), "mouthShrugLower": (0, 0.6)},
    {"mouthPucker": (1, 0), "mouthLeft": (0, 0.3), "mouthRight": (0, 0.3)},
    {"mouthFunnel": (1, 0), "jawOpen": (0.4, 0)},
    {"mouthPucker": (0.6, 0.4), "mouthFunnel": (0.4, 0.4), "cheekSquint": (0, 0.5), "browInnerUp": (0, 0.8)},
    {"mouthRollLower": (0.6, 0.4), "mouthRollUpper": (0.5, 0.4), "mouthPress": (0.5, 0.5), "browDown": (0, 0.7)},
    {"cheekPuff": (1, 0), "mouthPress": (0, 0.4)},
    {"noseSneer": (1, 0), "browDown": (1, 0), "mouthUpperUp": (0.7, 0)},
    {"mouthLeft": (1, 0), "jawOpen": (0, 0.3), "mouthSmile_L": (0, 0.6)},
    {"mouthRight": (1, 0), "jawOpen": (0, 0.3), "mouthSmile_R": (0, 0.6)},
    {"mouthStretch": (0.8, 0), "mouthLowerDown": (0.6, 0.4), "jawOpen": (0.2, 0.3)},
    {"mouthSmile_L": (1, 0), "cheekSquint_L": (0, 0.8), "mouthUpperUp_L": (0, 0.6), "mouthDimple_R": (0, 0.5)},
    {"mouthSmile_R": (1, 0), "cheekSquint_R": (0, 0.8), "mouthUpperUp_R": (0, 0.6), "mouthDimple_L": (0, 0.5)},
    {"noseSneer_L": (1, 0), "mouthUpperUp_L": (0.8, 0), "mouthFrown_R": (0, 0.6), "jawLeft": (0, 0.8)},
    {"noseSneer_R": (1, 0), "mouthUpperUp_R": (0.8, 0), "mouthFrown_L": (0, 0.6), "jawRight": (0, 0.8)},
    {"jawOpen": (0.8, 0.2), "mouthStretch": (0.3, 0.5), "mouthUpperUp": (0.2, 0.6), "mouthLowerDown": (0.2, 0.6)},
    {"jawOpen": (0.7, 0.3), "noseSneer": (0.6, 0.4), "browDown": (0.6, 0.4), "mouthStretch": (0.5, 0.5)},
    {"jawOpen": (0.5, 0.5), "mouthSmile": (1, 0), "cheekSquint": (0.8, 0), "eyeSquint": (0.5, 0)},
)
SQUEEZE: dict[str, tuple[float, float]] = {
    "eyeSquint": (0.4, 0.6),
    "cheekSquint": (0.5, 0.5),
    "browDown": (0.4, 0.6),
    "noseSneer": (0, 0.7),
}
"""What an eye that is squeezed shut brings with it."""
GAZE_DEG = 30.0
"""Turn of the eye at a look coefficient of one."""


class ExpressionSampler:
    """Draws coefficients for a head with the given expression names."""

    def __init__(self, names: list[str]):
        self._index = {name: index for index, name in enumerate(names)}

    def _add(self, coefficients: np.ndarray, name: str, amount: float) -> None:
        for full in (name, f"{name}_L", f"{name}_R"):
            if full in self._index:
                coefficients[self._index[full]] += amount

    def sample(self, rng: np.random.Generator) -> Float[np.ndarray, "e"]:
        """Coefficients in [0, 1.1]. 14 % of the faces have both eyes fully shut, 5 % one (a third of those squeezed);
        18 % more have them partly shut. Three of ten mix two archetypes, and strengths lean to the strong side."""
        coefficients = np.zeros(len(self._index))
        for _ in range(1 + (rng.random() < 0.3)):
            self._archetype(rng, coefficients, ARCHETYPES[rng.integers(len(ARCHETYPES))], rng.random() ** 0.7)
        self._blink(rng, coefficients)
        if rng.random() < 0.3:
            raised = rng.random()
            self._add(coefficients, "browOuterUp", raised)
            self._add(coefficients, "browInnerUp", raised)
        self._look(coefficients, *np.clip(0.35 * rng.standard_normal(2), -1, 1))
        small = np.abs(rng.standard_normal(len(coefficients))) * 0.04 * (rng.random(len(coefficients)) < 0.5)
        for name in ("PupilDilate_L", "PupilDilate_R", "mouthClose", "cheekRaiser_L", "cheekRaiser_R"):
            if name in self._index:
                small[self._index[name]] = 0
        return np.clip(coefficients + small, 0, 1.1)

    def _archetype(self, rng: np.random.Generator, coefficients: np.ndarray, shapes: dict, strength: float) -> None:
        for name, (fixed, extra) in shapes.items():
            self._add(coefficients, name, strength * (fixed + extra * rng.random()))

    def _blink(self, rng: np.random.Generator, coefficients: np.ndarray) -> None:
        chance, side, squeezed = rng.random(), str(rng.choice(["_L", "_R"])), rng.random() < 1 / 3
        both, amount = (chance < 0.14) or (0.19 <= chance < 0.33), 1.0 if chance < 0.19 else rng.random()
        if chance < 0.37:
            self._add(coefficients, "eyeBlink" if both else "eyeBlink" + side, amount)
        if chance < 0.19 and squeezed:
            own = {name + ("" if both else side): amounts for name, amounts in SQUEEZE.items()}
            self._archetype(rng, coefficients, own, 1.0)

    def _look(self, coefficients: np.ndarray, left: float, up: float) -> None:
        """Both eyes look to the subject's left (+) and up (+)."""
        sides = ("eyeLookOut_L", "eyeLookIn_R") if left > 0 else ("eyeLookIn_L", "eyeLookOut_R")
        for name in sides:
            self._add(coefficients, name, abs(left))
        for side in ("_L", "_R"):  # the lids follow the gaze: on a closed eye they would pass each other
            blink = coefficients[self._index["eyeBlink" + side]]
            name = ("eyeLookUp" if up > 0 else "eyeLookDown") + side
            self._add(coefficients, name, abs(up) * float(np.clip(1 - blink, 0, 1)))

    def gaze_rad(self, coefficients: Float[np.ndarray, "e"], side: str) -> tuple[float, float]:
        """(to the subject's left, up) turn of the eye `L` or `R`."""
        value = lambda name: float(coefficients[self._index[f"{name}_{side}"]])  # noqa: E731
        outward = value("eyeLookOut") - value("eyeLookIn")
        left = outward if side == "L" else -outward
        return np.radians(GAZE_DEG) * left, np.radians(GAZE_DEG) * (value("eyeLookUp") - value("eyeLookDown"))
