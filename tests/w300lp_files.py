"""Files in 300W-LP's layout, by the formulas of 3DDFA's released Matlab code."""

import cv2
import numpy as np
from scipy.io import savemat

from facelift.datasets.readers.w300lp import SOURCES
from facelift.morphable.linear import LinearModel


def write_w300lp(folder, name: str, model: LinearModel, rng: np.random.Generator) -> np.ndarray:
    """A picture of HELEN with a bright square on the chin; returns the landmarks (68, 3): px of it, z to the viewer."""
    for source in SOURCES:
        (folder / source).mkdir(parents=True, exist_ok=True)
    shape, expression = (rng.standard_normal(len(basis)) for basis in (model.shape, model.expression))
    vertices = model.mean + np.tensordot(shape, model.shape, 1) + np.tensordot(expression, model.expression, 1)
    pitch, yaw, roll = rng.uniform(-0.5, 0.5, 3)
    scale = 200 / np.ptp(model.mean[:, 1])
    moved = scale * vertices[model.landmark_vertices] @ _rotation(pitch, yaw, roll).T + [230, 215, -7]
    points = np.stack([moved[:, 0], 451 - moved[:, 1]])
    image = np.zeros((450, 450, 3), np.uint8)
    x, y = np.floor(points[:, 8] - 0.5).astype(int)
    image[y - 2 : y + 3, x - 2 : x + 3] = 255
    cv2.imwrite(str(folder / "HELEN" / f"{name}.png"), image)
    (folder / "HELEN" / f"{name}.png").rename(folder / "HELEN" / f"{name}.jpg")
    filled = {"Shape_Para": np.zeros((199, 1)), "Exp_Para": np.zeros((29, 1))}
    filled["Shape_Para"][: len(shape), 0], filled["Exp_Para"][: len(expression), 0] = shape, expression
    pose = [[pitch, yaw, roll, 230, 215, -7, scale]]
    savemat(folder / "HELEN" / f"{name}.mat", {"pt2d": points, "Pose_Para": pose, **filled})
    return np.column_stack([points[0] - 0.5, points[1] - 0.5, moved[:, 2]])


def _rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """RotationMatrix.m: Rx Ry Rz, x to the right, y up, each with its sines' signs there."""
    (a, b, c), (p, q, r) = np.cos([pitch, yaw, roll]), np.sin([pitch, yaw, roll])
    about_x = np.array([[1, 0, 0], [0, a, p], [0, -p, a]])
    about_y = np.array([[b, 0, -q], [0, 1, 0], [q, 0, b]])
    about_z = np.array([[c, r, 0], [-r, c, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z
