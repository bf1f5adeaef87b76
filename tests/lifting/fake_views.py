"""A generator whose pictures only say which face and which view they are, and a detector that reads that."""

import time
from types import SimpleNamespace

import numpy as np

from facelift.detectors2d.protocol import Detections
from facelift.geometry import intrinsics, project
from facelift.landmarks import WFLW98


def head_points(seed: int) -> np.ndarray:
    """98 points on the front of an ellipsoid the size of a head, a little different for each seed."""
    rng = np.random.default_rng([seed, 1])
    azimuth, elevation = rng.uniform(-1.2, 1.2, 98), rng.uniform(-0.9, 0.9, 98)
    unit = np.stack(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], axis=-1
    )
    return unit * [0.22, 0.3, 0.25]


class FakeGenerator:
    name = "fake"

    def landmarks(self, seed):
        return head_points(seed)

    def render(self, seed, rotations, translations, size=256):
        views = []
        for index in range(len(rotations)):
            image = np.zeros((size, size, 3), np.uint8)
            image[0, 0] = index, seed % 256, seed // 256
            views.append(SimpleNamespace(image=image))
        return views


class FakeDetector:
    """Exact projections plus noise; blind in `blind` views; `stop_at`: raises KeyboardInterrupt at that seed."""

    scheme = WFLW98

    def __init__(self, views, *, noise_px=0.0, blind=(), stop_at=None, covariances=False, delay_s=0.0):
        self.rotations, self.translations = views.rotations, views.translations
        self.noise_px, self.blind, self.stop_at, self.delay_s = noise_px, blind, stop_at, delay_s
        self.covariances = covariances
        self.boxes = []

    def detect(self, images, boxes):
        time.sleep(self.delay_s)
        self.boxes.append(boxes)
        size = images[0].shape[0]
        view = np.array([image[0, 0, 0] for image in images])
        seed = int(images[0][0, 0, 1]) + 256 * int(images[0][0, 0, 2])
        if seed == self.stop_at:
            raise KeyboardInterrupt
        points = project(
            np.tile(head_points(seed), (len(view), 1, 1)),
            self.rotations[view],
            self.translations[view],
            intrinsics(size),
        )
        points += np.random.default_rng([seed, 2]).normal(size=points.shape) * self.noise_px
        found = ~np.isin(view, self.blind)
        points[~found] = np.nan
        covariances = np.tile(np.eye(2) * self.noise_px**2, (len(view), 98, 1, 1)) if self.covariances else None
        return Detections(points, np.where(found, 0.9, 0.0)[:, None] * np.ones(98), found, covariances)
