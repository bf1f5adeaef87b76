"""SynergyNet's face model (Wu et al. 2021), the folder `3dmm_data` of its release, as its users know it [?]:

u_shp.npy, u_exp.npy              (159645, 1) mean, and what the mean expression adds to it
w_shp_sim.npy, w_exp_sim.npy      (159645, 40) and (159645, 10)
keypoints_sim.npy                 (204,) rows of the 68 landmarks
tri.mat                           tri (3, 105840), vertices from 1
param_whitening.pkl               {param_mean, param_std}, 62 numbers; a texture's may follow
"""

from pathlib import Path

import numpy as np

from facelift.archives import read_npy
from facelift.checkpoints.safe_pickle import read_pickled_arrays
from facelift.datasets.readers.mat_files import read_mat
from facelift.morphable.linear import POSE, LinearModel, Whitening
from facelift.morphable.readers.columns import landmark_rows, numbers, offsets, outward, points, triangles
from facelift.sources import BFM09, FACEWAREHOUSE


def read_synergynet(folder: Path, *, shape: int | None = 40, expression: int | None = 10) -> LinearModel:
    """The first components; None: all of them. Micrometres, y up. There are no texture coordinates.

    The whitening is as the file has it: for poses in the frame of its own network (`checkpoints.released_frame`), not
    in ours. Raises FileNotFoundError, or ValueError naming file, expected and found.
    """
    folder = Path(folder)
    mean = _points(folder / "u_shp.npy")
    mean = mean + _points(folder / "u_exp.npy", vertices=len(mean))
    identities = _offsets(folder / "w_shp_sim.npy", len(mean), shape)
    expressions = _offsets(folder / "w_exp_sim.npy", len(mean), expression)
    corners = read_mat(folder / "tri.mat", {"tri": (None, None)})["tri"]
    size = POSE + len(identities) + len(expressions)
    statistics = folder / "param_whitening.pkl"
    held = read_pickled_arrays(statistics, "means and deviations of parameters", ("param_mean", "param_std"))
    keypoints = folder / "keypoints_sim.npy"
    return LinearModel(
        mean=mean,
        shape=identities,
        expression=expressions,
        faces=outward(mean, triangles(corners, folder / "tri.mat", first=1)),
        landmark_vertices=landmark_rows(read_npy(keypoints, "the landmarks' rows"), keypoints),
        uv=None,
        whitening=Whitening(*(numbers(held[name], size, statistics, name) for name in ("param_mean", "param_std"))),
        sources=(BFM09, FACEWAREHOUSE),
        name="bfm-synergynet",
    )


def _points(path: Path, vertices: int | None = None) -> np.ndarray:
    found = points(read_npy(path, "SynergyNet's mean face"), path, path.stem)
    if vertices is not None and len(found) != vertices:
        raise ValueError(f"{path}: expected {3 * vertices} rows as in u_shp.npy, found {3 * len(found)}")
    return found


def _offsets(path: Path, vertices: int, count: int | None) -> np.ndarray:
    return offsets(read_npy(path, "SynergyNet's components"), vertices, count, path, path.stem)
