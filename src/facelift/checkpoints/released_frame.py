"""The frame of 3DDFA's and SynergyNet's crops, and ours: an exact change of the 12 pose numbers."""

from typing import Any

from jaxtyping import Float

from facelift.geometry.arrays import constant, namespace

CROP = 120
"""Side of their crops, px."""
POINT_SIGNS, POINT_SHIFT = (1.0, 1.0, -1.0), (0.5, 0.5, 0.0)
"""Their points in the crop = signs x ours + shift: y down, 1-based px (the first pixel's centre is at 1, ours at 0.5),
z towards the camera."""


def parameters_from_released(parameters: Float[Any, "*b p"]) -> Float[Any, "*b p"]:
    """Their dewhitened parameters with the pose in our frame; shape and expression stay as they are.

    Their (x', y', z') = P [v; 1] has y' up, z' towards the camera, and y = 120 + 1 - y' in 1-based px of the crop.
    Ours: x = x' - 1/2, y = 120 + 1/2 - y', z = -z'. NumPy arrays and tensors alike.
    """
    rows = parameters[..., :12].reshape(*parameters.shape[:-1], 3, 4)
    signs = constant([[1.0], [-1.0], [-1.0]], like=parameters)
    shift = constant([[0, 0, 0, -0.5], [0, 0, 0, CROP + 0.5], [0, 0, 0, 0]], like=parameters)
    pose = (signs * rows + shift).reshape(*parameters.shape[:-1], 12)
    return namespace(parameters).concatenate([pose, parameters[..., 12:]], axis=-1)
