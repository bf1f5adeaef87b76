"""The problem that `bench_fitting.py` gives to all solvers: 1,609 points of a smooth random head."""

import os

import numpy as np

from facelift.fitting.fit import photo_camera
from facelift.fitting.observed import face_size
from facelift.geometry import project, rotation_from_euler, rotation_from_vector
from facelift.morphable.skinned import UNLIMITED, SkinnedModel, no_joints

POINTS = int(os.environ.get("BENCH_POINTS", "1609"))
SHAPES, EXPRESSIONS = 100, 100
STEPS = 20
MOST = 64
"""Faces that are drawn at least, so that those of a smaller batch are the same."""


class SmoothHead:
    """A model of plane waves over half an ellipsoid, in the size of a head (unit: 36 cm)."""

    def __init__(self) -> None:

        rng = np.random.default_rng(5)
        golden = np.pi * (3 - np.sqrt(5)) * np.arange(POINTS)
        z = 1 - np.arange(POINTS) / POINTS
        ring = np.sqrt(1 - z**2)
        mean = np.stack([ring * np.cos(golden), ring * np.sin(golden), z], -1) * [0.21, 0.3, 0.25]
        count = SHAPES + EXPRESSIONS
        waves = np.sin(mean @ rng.normal(0, 12, (3, count)) + rng.uniform(0, 6, count))
        direction = rng.standard_normal((count, 3))
        size = 0.008 / np.sqrt(1 + np.arange(count) % SHAPES)
        basis = waves.T[..., None] * (size[:, None] * direction / np.linalg.norm(direction, axis=1)[:, None])[:, None]
        self.model = SkinnedModel(
            mean=mean.astype(np.float32),
            shape=basis[:SHAPES].astype(np.float32),
            expression=basis[SHAPES:].astype(np.float32),
            faces=np.zeros((0, 3), np.int32),
            joints=no_joints(POINTS),
            correctives=None,
            landmarks={},
            coefficient_mean=np.zeros(count, np.float32),
            coefficient_std=np.ones(count, np.float32),
            limits=np.tile(UNLIMITED, (count, 1)),
            name="smooth",
            sources=(),
        )


class Problem:
    """Points of random faces and where fits start. A face does not depend on how many there are."""

    def __init__(self, faces: int):

        self.model, rng = SmoothHead().model, np.random.default_rng(6)
        self.K = photo_camera(512, 512)
        chosen, faces = slice(faces), max(faces, MOST)
        angles = rng.uniform([-15, -30, -15], [15, 30, 15], (faces, 3))
        rotation = np.stack([rotation_from_euler(angle) for angle in angles])
        translation = np.stack([*rng.uniform(-0.2, 0.2, (2, faces)), rng.uniform(1.2, 2, faces)], -1)
        mesh = self.model.vertices(rng.standard_normal((faces, SHAPES)), rng.standard_normal((faces, EXPRESSIONS)))
        points = project(mesh, rotation, translation, np.broadcast_to(self.K, (faces, 3, 3)))
        points = points + rng.normal(0, 1, points.shape)
        axes = rng.standard_normal((faces, 3))
        axes *= np.radians(20) / np.linalg.norm(axes, axis=1, keepdims=True)
        start = points, rotation_from_vector(axes) @ rotation, translation * [1, 1, 1.2]
        self.points, self.rotation, self.translation = (values[chosen] for values in start)
        seen = np.ones(POINTS, bool)
        self.scale = 1 / (0.01 * np.array([face_size(face, seen) for face in self.points]))
        """Deviations a px."""
        self.mean = self.model.mean.astype(np.float64)
        self.basis = np.concatenate([self.model.shape, self.model.expression]).astype(np.float64)
