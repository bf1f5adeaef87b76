"""`facelift fit`: heads fitted to the faces of photos, videos and files of landmarks."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tyro

from facelift.commands.inputs import FITTED, Input, expand
from facelift.commands.predict import write_picture
from facelift.commands.report import Report, run_over, say
from facelift.commands.targets import refuse_foreign
from facelift.fitting.config import FitConfig
from facelift.images import Photo, load_photo
from facelift.landmarks import SCHEMES
from facelift.predictors.predictor import Predictor

if TYPE_CHECKING:
    from facelift.faces.face import Face
    from facelift.fitting.fit import HeadFits
    from facelift.fitting.given_points import GivenPoints
    from facelift.fitting.head import SkinnedHead
    from facelift.fitting.head_view import HeadView
    from facelift.morphable.skinned import SkinnedModel


@dataclass(frozen=True)
class FitCommand:
    """Fit a 3D head to the landmarks of photos, videos, or files of landmarks (JSON of predict or detect).

    Writes NAME.fit.json: pose, camera, coefficients, ARKit-style expressions where the head has them, residuals. Of a
    video, NAME.fit0.npz for each person: all frames share one shape.
    """

    inputs: tyro.conf.Positional[tuple[str, ...]]
    """Photos, videos, folders, globs in quotes, or .json files of landmarks."""
    model: str = "procedural"
    """openhead (needs its assets), procedural (built by code: coarse, needs nothing), or a file: a linear model of
    `facelift morphable`, or FLAME's .pkl or .npz with --landmarks; flame: the file that FACELIFT_FLAME names."""
    landmarks: Path | None = None
    """FLAME's landmark embedding."""
    assets: Path | None = None
    """Folder of the open head; FACELIFT_ASSETS if not given."""
    out: Path = Path("facelift-out")
    """Folder for the results."""
    format: tuple[Literal["json", "npz"], ...] | None = None
    """Files of parameters to write; json of a photo and npz of a video if not given."""
    mesh: tuple[Literal["obj", "ply", "glb"], ...] = ()
    """Meshes to write, NAME.fit.face1.obj and so on: the head's own frame and unit; of a video the neutral head."""
    texture: bool = False
    """Colour meshes by the photo; not of a video."""
    draw: bool = False
    """Also write NAME.fit.jpg: the heads over the photo, given points green, fitted ones red; or NAME.fit.mp4."""
    camera: Literal["photo", "predictor"] = "photo"
    """photo: focal length sqrt(w^2 + h^2) and the middle, or --focal-px and --principal-px; predictor: the narrow one
    of each face's crop."""
    focal_px: float | None = None
    """The photo's focal length in px, if known."""
    principal_px: tuple[float, float] | None = None
    """The photo's principal point x y in px, if known."""
    regions: tuple[Literal["contours", "brows", "nose", "eyes", "mouth", "pupils"], ...] = ()
    """Landmarks to fit; all if not given."""
    one_person: bool = False
    """The first face of each photo is the same person: one shape for all."""
    fit: FitConfig = field(default_factory=lambda: FitConfig(kernel="cauchy", noise=0.02, iterations=50))
    """Weights, priors, iterations."""
    threads: int | None = None
    """Threads of network and fit."""


def fit(config: FitCommand) -> int:
    """Runs the command; returns the exit code."""
    import torch

    if not config.inputs:
        raise ValueError("expected at least one photo, video or file of landmarks, found none")
    config.fit.check()
    if config.camera == "predictor" and (config.focal_px, config.principal_px) != (None, None):
        raise ValueError("--camera predictor: expected neither --focal-px nor --principal-px, found one")
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    fitter = Fitter(config)
    inputs = expand(config.inputs)
    report = fitter.one_person(inputs) if config.one_person else run_over(inputs, fitter.work)
    say(report.summary(config.out))
    return report.exit_code


class Fitter:
    """A head, and what is done with each input."""

    def __init__(self, config: FitCommand):
        from facelift.fitting.models import load_head

        self.config = config
        self.model: SkinnedModel = load_head(config.model, assets=config.assets, landmarks=config.landmarks)
        self._predictor: Predictor | None = None
        self._heads: dict[str, SkinnedHead] = {}

    @property
    def predictor(self) -> Predictor:
        """Loaded when it is first needed."""
        if self._predictor is None:
            self._predictor = Predictor(threads=self.config.threads)
        return self._predictor

    def work(self, entry: Input, report: Report) -> int:
        """One input; returns the number of its faces."""
        if entry.is_video:
            from facelift.commands.fit_video import fit_video

            return fit_video(self, entry, report)
        if entry.path.suffix.lower() == ".json":
            return self._points(entry, report)
        photo = load_photo(entry.path)
        faces = self.predictor.predict_photo(photo)
        if not faces:
            say(f"{entry.path}: no face")
            return 0
        given = self.of_faces(faces, photo.original_wh)
        self._write(entry, photo, given, self.fits(given), report)
        return len(faces)

    def one_person(self, inputs: list[Input]) -> Report:
        """The first face of each photo, one shape for all; what cannot be read or written is told and left out."""
        from facelift.fitting.given_points import joined

        seen: dict[Input, tuple[Photo, GivenPoints]] = {}
        looked = run_over(inputs, lambda entry, _: self._first_face(entry, seen))
        if not seen:
            raise ValueError("--one-person: expected a face in some photo, found none")
        fits = self.fits(joined([own for _, own in seen.values()]), frames=len(seen))
        rows = {entry: _rows(fits, [index]) for index, entry in enumerate(seen)}

        def write(entry: Input, report: Report) -> int:
            self._write(entry, *seen[entry], rows[entry], report)
            return 1

        report = run_over(list(seen), write)
        report.done, report.without_face = report.done + looked.without_face, looked.without_face
        report.failed = looked.failed + report.failed
        return report

    def _first_face(self, entry: Input, seen: "dict[Input, tuple[Photo, GivenPoints]]") -> int:
        photo = load_photo(entry.path)
        faces = self.predictor.predict_photo(photo)[:1]
        if faces:
            seen[entry] = photo, self.of_faces(faces, photo.original_wh)
        else:
            say(f"{entry.path}: no face")
        return len(faces)

    def of_faces(self, faces: "list[Face]", wh: tuple[int, int]) -> "GivenPoints":
        """What is fitted of the predictor's faces in a picture of this size."""
        from facelift.fitting.given_points import of_faces

        config = self.config
        return self._chosen(of_faces(faces, self.model, wh, config.fit, config.camera, **self._known_camera))

    @property
    def _known_camera(self) -> dict[str, Any]:
        return {"focal_px": self.config.focal_px, "principal_px": self.config.principal_px}

    def _chosen(self, given: "GivenPoints") -> "GivenPoints":
        """Of some regions only."""
        if not self.config.regions:
            return given
        if given.scheme is None:
            raise ValueError("--regions: expected landmarks of a scheme, found vertices")
        regions = SCHEMES[given.scheme].regions
        found = [regions[name] for name in self.config.regions if name in regions]
        return given.only(np.concatenate(found) if found else np.zeros(0, np.int64))

    def fits(self, given: "GivenPoints", frames: int = 1) -> "HeadFits":
        """`frames`: each so many are one person."""
        from facelift.fitting.fit import fit_heads

        return fit_heads(
            self._head(given), given.points, given.weights, given.intrinsics,
            start=given.start, frames=frames, config=self.config.fit,
        )  # fmt: skip

    def _head(self, given: "GivenPoints") -> "SkinnedHead":
        from facelift.fitting.head import SkinnedHead

        if given.vertices is not None:
            return SkinnedHead(self.model, given.vertices)
        assert given.scheme is not None  # beside no vertices
        if given.scheme not in self._heads:
            table = self.model.table(given.scheme)
            self._heads[given.scheme] = SkinnedHead(self.model, table.vertices, table.weights)
        return self._heads[given.scheme]

    def _points(self, entry: Input, report: Report) -> int:
        from facelift.fitting.given_points import document_size, read_points

        config = self.config
        if config.draw or config.texture:
            raise ValueError(f"{entry.path}: expected a photo with --draw and --texture, found landmarks alone")
        given = self._chosen(read_points(entry.path, self.model, config.fit, config.camera, **self._known_camera))
        if not len(given.points):
            say(f"{entry.path}: no face")
            return 0
        self._write(entry, document_size(entry.path), given, self.fits(given), report)
        return len(given.points)

    def _write(
        self, entry: Input, photo: Photo | tuple[int, int], given: "GivenPoints", fits: "HeadFits", report: Report
    ) -> None:
        """Parameters, meshes and the drawing of one picture."""
        from facelift.fitting.head_fit_io import write_fits

        base = self.config.out / entry.stem
        wh = photo.original_wh if isinstance(photo, Photo) else photo
        for kind in self.config.format or ("json",):
            target = base.with_name(f"{base.name}{FITTED}.{kind}")
            refuse_foreign(target, entry.path)
            report.written.append(write_fits(target, fits, self.model, image=str(entry.path), image_wh=wh))
        views = {k: self.view(fits, k, photo) for k, reason in enumerate(fits.failure) if reason is None}
        pixels = photo.pixels if isinstance(photo, Photo) else None
        for index, view in views.items():
            report.written += self.meshes(base.with_name(f"{base.name}{FITTED}.face{index + 1}"), view, pixels)
        if self.config.draw and isinstance(photo, Photo):
            canvas = self._drawn(photo.pixels, views, given, fits, photo.scale)
            report.written.append(write_picture(base.with_name(f"{base.name}{FITTED}.jpg"), canvas))
        for index in range(len(fits.failure)):
            say(_line(entry.path, index, fits))

    def view(self, fits: "HeadFits", index: int, photo: Photo | tuple[int, int]) -> "HeadView":
        """In px of the photo as loaded."""
        from facelift.fitting.head_view import HeadView

        scale = photo.scale if isinstance(photo, Photo) else 1.0
        mesh = self.model.vertices(fits.shape[index], fits.expression[index], fits.joints[index])
        K = np.diag([1 / scale, 1 / scale, 1]) @ fits.intrinsics[index]
        return HeadView(self.model, mesh, fits.rotation[index], fits.translation[index], K)

    def _drawn(
        self, pixels: np.ndarray, views: "dict[int, HeadView]", given: "GivenPoints", fits: "HeadFits", scale: float
    ) -> np.ndarray:
        """Heads, the farthest first, then points."""
        from facelift.fitting.head_view import draw_residuals

        for view in sorted(views.values(), key=lambda view: -view.translation[2]):
            pixels = view.drawn(pixels)
        for index in views:
            shown = (given.weights[index] > 0).any(-1, keepdims=True)
            points = np.where(shown, given.points[index], np.nan)
            pixels = draw_residuals(pixels, points / scale, fits.points[index] / scale)
        return pixels

    def meshes(self, base: Path, view: "HeadView", pixels: np.ndarray | None) -> list[Path]:
        """Plain without pixels."""
        from facelift.commands.predict_mesh import write_mesh

        if not self.config.mesh:
            return []
        mesh = view.coloured(pixels if self.config.texture else None)
        targets = [base.with_name(f"{base.name}.{kind}") for kind in self.config.mesh]
        for target in targets:
            write_mesh(target, mesh)
        return targets


def _rows(fits: "HeadFits", index: list[int]) -> "HeadFits":
    """Some of the faces."""
    from dataclasses import fields

    values: dict[str, Any] = {f.name: getattr(fits, f.name) for f in fields(fits) if f.name != "failure"}
    chosen = {name: value[index] for name, value in values.items()}
    return replace(fits, failure=tuple(fits.failure[k] for k in index), **chosen)


def _line(path: Path, index: int, fits: "HeadFits") -> str:
    from facelift.geometry import euler_deg

    reason = fits.failure[index]
    if reason is not None:
        return f"{path}: face {index + 1}  not fitted: {reason}"
    pitch, yaw, roll = euler_deg(fits.rotation[index])
    return (
        f"{path}: face {index + 1}  residual {fits.rms[index]:.2f} px  pitch {pitch:+.1f} yaw {yaw:+.1f} "
        f"roll {roll:+.1f}  steps {fits.steps[index]}{'' if fits.converged[index] else ' (not converged)'}"
    )
