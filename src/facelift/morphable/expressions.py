"""Plausible random expressions in ARKit's names: an archetype, blinks, brows, gaze and a little of everything."""

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
    {"mouthPucker": (1, 0)},
    {"mouthFunnel": (1, 0), "jawOpen": (0.4, 0)},
    {"noseSneer": (1, 0), "browDown": (1, 0), "mouthUpperUp": (0.7, 0)},
    {"mouthLeft": (1, 0), "jawOpen": (0, 0.3), "mouthSmile_L": (0, 0.6)},
    {"mouthRight": (1, 0), "jawOpen": (0, 0.3), "mouthSmile_R": (0, 0.6)},
    {"mouthStretch": (0.8, 0), "mouthLowerDown": (0.6, 0.4), "jawOpen": (0.2, 0.3)},
)
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
        """Coefficients in [0, 1.1]; about a third of the faces blink, fully or partly, a few with one eye."""
        coefficients = np.zeros(len(self._index))
        strength = rng.random()
        for name, (fixed, extra) in ARCHETYPES[rng.integers(len(ARCHETYPES))].items():
            self._add(coefficients, name, strength * (fixed + extra * rng.random()))
        chance = rng.random()
        if chance < 0.3:
            self._add(coefficients, "eyeBlink", np.sqrt(rng.random()))
        elif chance < 0.37:
            self._add(coefficients, str(rng.choice(["eyeBlink_L", "eyeBlink_R"])), rng.random())
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
