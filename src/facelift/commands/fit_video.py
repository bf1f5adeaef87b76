"""`facelift fit` of a video: one shape a person, a pose and an expression a frame."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facelift.commands.inputs import FITTED, Input
from facelift.commands.report import Report, progress, say
from facelift.commands.targets import refuse_foreign

if TYPE_CHECKING:
    from facelift.commands.fit import Fitter
    from facelift.faces.face import Face
    from facelift.fitting.fit import HeadFits


def fit_video(fitter: "Fitter", entry: Input, report: Report) -> int:
    """One shape a person, a pose and an expression a frame. Raises ValueError with `texture`."""
    from facelift.video import VideoReader, follow_faces

    if fitter.config.texture:
        raise ValueError(f"{entry.path}: expected a photo with --texture, found a video")
    reader = VideoReader(entry.path)
    people: dict[int, list[tuple[int, float, Face]]] = {}
    wh = (0, 0)
    for frame, faces in follow_faces(fitter.predictor, iter(reader)):
        progress(f"{entry.path}: frame {frame.index + 1}")
        wh = (frame.pixels.shape[1], frame.pixels.shape[0])
        for number, face in faces.items():
            people.setdefault(number, []).append((frame.index, frame.time_s, face))
    found = {number: (rows, _person(fitter, entry, number, rows, wh, report)) for number, rows in people.items()}
    if not found:
        say(f"{entry.path}: no face")
    elif fitter.config.draw:
        report.written.append(_draw_video(fitter, entry, reader.fps, found))
    return len(found)


def _person(
    fitter: "Fitter",
    entry: Input,
    number: int,
    rows: "list[tuple[int, float, Face]]",
    wh: tuple[int, int],
    report: Report,
) -> "HeadFits":
    from facelift.fitting.head_fit_io import write_fits

    given = fitter.of_faces([face for _, _, face in rows], wh)
    fits = fitter.fits(given, frames=len(rows))
    base = fitter.config.out / entry.stem
    base = base.with_name(f"{base.name}{FITTED}{number}")
    times = {"frame": np.array([row[0] for row in rows]), "time_s": np.array([row[1] for row in rows])}
    for kind in fitter.config.format or ("npz",):
        target = base.with_name(f"{base.name}.{kind}")
        refuse_foreign(target, entry.path)
        report.written.append(write_fits(target, fits, fitter.model, image=str(entry.path), image_wh=wh, **times))
    good = [k for k, reason in enumerate(fits.failure) if reason is None]
    if good and fitter.config.mesh:
        rest = replace(fits, expression=0 * fits.expression, joints=0 * fits.joints)
        report.written += fitter.meshes(base, fitter.view(rest, good[0], wh), None)
    say(f"{entry.path}: person {number}  {len(rows)} frames  residual {np.nanmedian(fits.rms):.2f} px")
    return fits


def _draw_video(
    fitter: "Fitter", entry: Input, fps: float, found: "dict[int, tuple[list[tuple[int, float, Face]], HeadFits]]"
) -> Path:
    from facelift.video import VideoReader, VideoWriter

    target = fitter.config.out / entry.stem
    target = target.with_name(f"{target.name}{FITTED}.mp4")
    at: dict[int, list[tuple[HeadFits, int]]] = {}
    for rows, fits in found.values():
        for k, (frame, _, _) in enumerate(rows):
            if fits.failure[k] is None:
                at.setdefault(frame, []).append((fits, k))
    with VideoWriter(target, fps) as video:
        for shown in VideoReader(entry.path):
            pixels = shown.pixels
            for fits, k in at.get(shown.index, []):
                pixels = fitter.view(fits, k, pixels.shape[1::-1]).drawn(pixels)
            video.add(pixels)
    return target
