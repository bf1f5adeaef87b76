"""What is known about one face in a picture."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from facelift.geometry.camera import project, to_camera
from facelift.geometry.euler import euler_deg
from facelift.landmarks import SCHEMES, Scheme, conversion, eye_opening


@dataclass(frozen=True, eq=False)
class Face:
    """3D landmarks, their projections with uncertainty, and the pose of one face.

    Pixels are those of the upright original image, centres at integer + 0.5. `landmarks_3d`, seen by the camera
    (`rotation`, `translation`, `intrinsics`), project exactly to `points_2d`.
    """

    points_2d: Float[np.ndarray, "n 2"]
    """px of the original image."""
    landmarks_3d: Float[np.ndarray, "n 3"]
    """Canonical head frame: x to the subject's left, y up, z out of the face; one unit is about 36 cm."""
    covariances: Float[np.ndarray, "n 2 2"]
    """Of `points_2d`, px^2."""
    visibility: Float[np.ndarray, "n"]
    """Probability that the landmark is not hidden."""
    rotation: Float[np.ndarray, "3 3"]
    """cam_from_canonical, OpenCV axes (x right, y down, z forward)."""
    translation: Float[np.ndarray, "3"]
    """cam_from_canonical, canonical units."""
    intrinsics: Float[np.ndarray, "3 3"]
    """Camera of this face's crop in px of the original image: its axis goes through the crop's middle, not the
    photo's."""
    box: Float[np.ndarray, "4"]
    """The box that the face was found in, x0 y0 x1 y1 px: about the tight box of the landmarks, brows to chin."""
    score: float
    """The face finder's, 0..1; 1 for a box that the caller gave."""
    marks_2d: Float[np.ndarray, "n 2"]
    """Where a person would mark the landmarks, px: the jaw of a turned head on its visible outline, where
    `points_2d` has the projection of the jaw itself. What 2D benchmarks label."""
    marks_covariances: Float[np.ndarray, "n 2 2"]
    """Of `marks_2d`, px^2."""
    scheme: str = "wflw98"
    """Name of the landmark order, a key of `facelift.landmarks.SCHEMES`."""

    @property
    def euler_deg(self) -> Float[np.ndarray, "3"]:
        """(pitch, yaw, roll) in degrees; positive: looks up, nose to the image's right, head tilts clockwise."""
        return euler_deg(self.rotation)

    @property
    def landmarks_camera(self) -> Float[np.ndarray, "n 3"]:
        """Landmarks in the camera frame, canonical units."""
        return to_camera(self.landmarks_3d, self.rotation, self.translation)

    @property
    def sigmas(self) -> Float[np.ndarray, "n"]:
        """Standard deviation of each 2D point, px: root mean square over directions."""
        return np.sqrt(np.trace(self.covariances, axis1=-2, axis2=-1) / 2)

    @property
    def eye_opening(self) -> Float[np.ndarray, "2"]:
        """`facelift.landmarks.eye_opening` of the 3D landmarks: the subject's right eye (left in the picture), the left
        one. Raises ValueError for a scheme without lids (aflw21)."""
        return eye_opening(self.landmarks_3d, self.scheme)

    @property
    def landmark_box(self) -> Float[np.ndarray, "4"]:
        """Tight box of the projected landmarks, x0 y0 x1 y1 px."""
        return np.concatenate([self.points_2d.min(0), self.points_2d.max(0)])

    @property
    def relative_sigma(self) -> float:
        """Mean of `sigmas` over the longer side of `landmark_box`: at most 0.07 on held-out faces, profiles too."""
        return float(self.sigmas.mean()) / max(float(np.ptp(self.points_2d, axis=0).max()), 1e-9)

    @property
    def landmark_scheme(self) -> Scheme:
        """Regions, mirror pairs and lines of the landmarks."""
        return SCHEMES[self.scheme]

    def scaled(self, factor: float) -> "Face":
        """The face in a picture `factor` times larger: everything in px changes, nothing in 3D."""
        return replace(
            self,
            points_2d=self.points_2d * factor,
            covariances=self.covariances * factor**2,
            intrinsics=np.diag([factor, factor, 1.0]) @ self.intrinsics,
            box=self.box * factor,
            marks_2d=self.marks_2d * factor,
            marks_covariances=self.marks_covariances * factor**2,
        )

    def to(self, scheme: str) -> "Face":
        """The face with the landmarks of another scheme.

        A landmark that is a weighted mean of several gets the mean of their 3D positions, the covariance of that mean
        for independent landmarks (sum of squared weight times covariance), and the visibility of the least visible of
        them. Raises ValueError where this scheme does not determine the other.
        """
        if scheme == self.scheme:
            return self
        weights = conversion(self.scheme, scheme)
        landmarks = weights @ self.landmarks_3d
        return replace(
            self,
            landmarks_3d=landmarks,
            points_2d=project(landmarks, self.rotation, self.translation, self.intrinsics),
            covariances=np.einsum("ts,sij->tij", weights**2, self.covariances),
            visibility=np.where(weights > 0, self.visibility, 1.0).min(axis=1),
            marks_2d=weights @ self.marks_2d,
            marks_covariances=np.einsum("ts,sij->tij", weights**2, self.marks_covariances),
            scheme=scheme,
        )
