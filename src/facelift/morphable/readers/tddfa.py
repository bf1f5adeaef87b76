"""3DDFA_V2's face model (Guo et al. 2020), the folder `configs` of its release:

bfm_noneck_v3.pkl                 {u (3v, 1), w_shp (3v, 40+), w_exp (3v, 10+), keypoints (204,)}
tri.pkl                           (3, f) triangles, vertices from 0
param_mean_std_62d_120x120.pkl    {mean (62,), std (62,)}
"""

from pathlib import Path

import numpy as np

from facelift.checkpoints.safe_pickle import read_pickle, read_pickled_arrays
from facelift.morphable.linear import POSE, LinearModel, Whitening
from facelift.morphable.readers.columns import landmark_rows, numbers, offsets, outward, points, triangles
from facelift.sources import BFM09, FACEWAREHOUSE

MODEL, TRIANGLES, STATISTICS = "bfm_noneck_v3.pkl", "tri.pkl", "param_mean_std_62d_120x120.pkl"


def read_tddfa(folder: Path, *, shape: int | None = 40, expression: int | None = 10) -> LinearModel:
    """The first components; None: all of them. Micrometres, y up. There are no texture coordinates.

    The whitening is as the file has it: for poses in the frame of its own network (`checkpoints.released_frame`), not
    in ours. Raises FileNotFoundError, or ValueError naming file, expected and found.
    """
    path = Path(folder) / MODEL
    held = read_pickled_arrays(path, "3DDFA_V2's face model", ("u", "w_shp", "w_exp", "keypoints"))
    mean = points(held["u"], path, "u")
    identities = offsets(held["w_shp"], len(mean), shape, path, "w_shp")
    expressions = offsets(held["w_exp"], len(mean), expression, path, "w_exp")
    corners = read_pickle(path.with_name(TRIANGLES), "3DDFA_V2's triangles")
    return LinearModel(
        mean=mean,
        shape=identities,
        expression=expressions,
        faces=outward(mean, triangles(np.asarray(corners), path.with_name(TRIANGLES), first=0)),
        landmark_vertices=landmark_rows(held["keypoints"], path),
        uv=None,
        whitening=_whitening(path.with_name(STATISTICS), POSE + len(identities) + len(expressions)),
        sources=(BFM09, FACEWAREHOUSE),
        name="bfm-noneck",
    )


def _whitening(path: Path, size: int) -> Whitening:
    held = read_pickled_arrays(path, "means and deviations of 3DDFA_V2's parameters", ("mean", "std"))
    return Whitening(numbers(held["mean"], size, path, "mean"), numbers(held["std"], size, path, "std"))
