"""AFLW (Koestinger et al. 2011): photos from Flickr with up to 21 points a face.

Layout, as released: data/aflw.sqlite and data/flickr/{0,2,3}/imageNNNNN.jpg. Tables: FaceImages (file_id, db_id,
filepath within data/DB_ID), Faces (face_id, file_id), FaceRect (face_id, x, y, w, h), FeatureCoords (face_id,
feature_id 1-21, x, y), FacePose (face_id, roll, pitch, yaw in rad).

Traps: only points that are seen are labelled, so a missing row is a hidden point (some rows hold -1, -1 instead); some
faces have no box or no point and are left out (`skipped`). Boxes are wide squares that reach out of photos. Angles come
from fitting a mean head to the points, so they are rough; their roll has the other sign than in AFLW2000-3D, as
Hopenet's code has it. The authors do not say where pixels are counted from: taken as indices from 0 (px = value + 0.5).
Papers of 3DDFA's line score 21,080 of the faces, by a list and boxes of their own, which this reader does not have.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jaxtyping import Float

from facelift.datasets.readers.official_layout import inner_folder, require_file, require_files
from facelift.datasets.readers.picture_files import picture_reader
from facelift.datasets.sample import UNKNOWN, VISIBLE, FaceSample

_FACES = """
    SELECT Faces.face_id, FaceImages.db_id, FaceImages.filepath, FaceRect.x, FaceRect.y, FaceRect.w, FaceRect.h,
           FacePose.pitch, FacePose.yaw, FacePose.roll
    FROM Faces JOIN FaceImages ON FaceImages.file_id = Faces.file_id
    LEFT JOIN FaceRect ON FaceRect.face_id = Faces.face_id
    LEFT JOIN FacePose ON FacePose.face_id = Faces.face_id
    GROUP BY Faces.face_id ORDER BY Faces.face_id
"""
_POINTS = "SELECT face_id, feature_id, x, y FROM FeatureCoords"


class AFLW:
    """All faces that have a box and a point; scheme "aflw21".

    Points without a label are NaN and of unknown state, the others are visible. `box` is the set's. `identity` is the
    photo; `attributes`: pitch, yaw, roll in degrees (AFLW2000-3D's signs), where the set has them. `skipped` counts
    faces without a box or without points.
    """

    def __init__(self, root: Path):
        self.name = "aflw"
        data = inner_folder(root, "data")
        database = require_file(data / "aflw.sqlite", "AFLW's database")
        faces, points = _read(database)
        usable = [face for face in faces if face[0] in points and face[3] is not None and min(face[5], face[6]) > 0]
        self.skipped = len(faces) - len(usable)
        if not usable:
            raise ValueError(f"{database}: expected faces with a box and points, found none in {len(faces)}")
        self._faces, self._points, self._data = usable, points, data
        require_files(dict.fromkeys(self._picture(face) for face in usable), "every photo of AFLW's database")

    def __len__(self) -> int:
        return len(self._faces)

    def __getitem__(self, index: int) -> FaceSample:
        face = self._faces[index]
        face_id, _, file, x, y, width, height, pitch, yaw, roll = face
        points = self._points[face_id]
        angles = {} if yaw is None else {"yaw": yaw, "pitch": pitch, "roll": -roll}
        return FaceSample(
            f"{Path(file).stem}/{face_id}",
            picture_reader(self._picture(face)),
            np.array([x, y, x + width, y + height], np.float64),
            points,
            np.where(np.isfinite(points[:, 0]), VISIBLE, UNKNOWN).astype(np.int8),
            "aflw21",
            identity=Path(file).stem,
            attributes={name: float(np.degrees(angle)) for name, angle in angles.items()},
        )

    def _picture(self, face: tuple) -> Path:
        return self._data / face[1] / face[2]


def _read(database: Path) -> tuple[list[tuple], dict[int, Float[np.ndarray, "21 2"]]]:
    """Rows of `_FACES`, and the points of each face that has any, px."""
    points: dict[int, np.ndarray] = {}
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as connection:
            faces = connection.execute(_FACES).fetchall()
            rows = connection.execute(_POINTS).fetchall()
    except sqlite3.Error as error:
        raise ValueError(f"{database}: expected AFLW's SQLite tables, found: {error}") from None
    for face_id, feature, x, y in rows:
        if not 1 <= feature <= 21:
            raise ValueError(f"{database}: expected feature_id 1-21 in FeatureCoords, found {feature} (face {face_id})")
        if (x, y) != (-1, -1):
            points.setdefault(face_id, np.full((21, 2), np.nan))[feature - 1] = x + 0.5, y + 0.5
    return faces, points
