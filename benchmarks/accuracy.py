"""Accuracy of exported weights on real photos with human labels that no training has seen.

    python benchmarks/accuracy.py [--data DIR] [--weights FILE] [--sheets DIR] [--json FILE]

merl_test: 2,548 AFLW faces with MERL-RAV's labels. NME over visible points, by sqrt(w h) of the labelled points' box.
aflw2000_sample: 100 of the 2,000 AFLW2000-3D photos: 68 points against the re-annotation, by sqrt(w h) of its box, mean
of the three yaw bins; pose in AFLW2000's convention. Each face is cut as its set gives it: the 120 px crop, the 3DDFA
box. Brackets hold the bootstrap's 95 % interval over faces.
"""

import argparse
import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from facelift import Predictor
from facelift.crops import box_of_crop
from facelift.drawing import draw_faces
from facelift.face import Face
from facelift.geometry import AFLW2000, euler_deg, procrustes, rotation_from_euler
from facelift.landmarks import conversion, mean_head
from facelift.onnx_lifter import shipped_weights

Results = dict[str, float | tuple[float, float, float]]
BINS = ((0, 30), (30, 60), (60, 181))
INNER = np.arange(17, 68)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("FACELIFT_DATA")
    parser.add_argument("--data", type=Path, default=folder, required=not folder, help="FACELIFT_DATA if not given")
    parser.add_argument("--weights", type=Path, help="exported lifter; the package's own if not given")
    parser.add_argument("--no-refine", action="store_true", help="one look at the given crop, without a closer one")
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets of 24 faces of each set")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    arguments = parser.parse_args()
    predictor = Predictor(arguments.weights, refine=not arguments.no_refine)
    results = {"merl_test": merl(predictor, arguments), "aflw2000_sample": aflw2000(predictor, arguments)}
    made_by = provenance(arguments.weights or shipped_weights())
    print(", ".join(f"{key} {value}" for key, value in made_by.items()))
    for name, result in results.items():
        print(name)
        for key, value in result.items():
            shown = f"{value[0]:.3f} [{value[1]:.3f}, {value[2]:.3f}]" if isinstance(value, tuple) else f"{value:.3f}"
            print(f"  {key:28s} {shown}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"made_by": made_by, **results}, indent=2))


def provenance(weights: Path) -> dict[str, str]:
    """Which weights, by which code."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    return {"weights": weights.name, "sha256": digest, "commit": commit.stdout.strip()}


def bootstrapped(statistic: Callable[[np.ndarray], float], count: int) -> tuple[float, float, float]:
    """The statistic of all faces, and its 2.5 and 97.5 % quantiles over faces drawn with replacement."""
    rng = np.random.default_rng(0)
    draws = [statistic(rng.integers(0, count, count)) for _ in range(1000)]
    return statistic(np.arange(count)), *(float(q) for q in np.nanquantile(draws, [0.025, 0.975]))


def images(data: Path, name: str) -> dict[str, np.ndarray]:
    """All pictures of a packed set by file name, RGB."""
    with tarfile.open(data / f"{name}.tar") as tar:
        return {
            member.name: np.asarray(Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB"))
            for member in tar
            if member.name.endswith(".jpg")
        }


def merl(predictor: Predictor, arguments: argparse.Namespace) -> Results:
    labels, pictures = dict(np.load(arguments.data / "merl_test.npz")), images(arguments.data, "merl_test")
    photos = [pictures[str(name)] for name in labels["name"]]
    faces = [predictor.predict(p, [box_of_crop(np.array([0, 0, p.shape[1], p.shape[0]]))])[0] for p in photos]
    seen = labels["state"] == 0
    nme = visible_nme(points68(faces), labels["pts68"], seen)
    inner = visible_nme(points68(faces), labels["pts68"], seen & np.isin(np.arange(68), INNER))
    yaw = np.abs(labels["yaw"])
    result = {f"NME % yaw {low}-{high}": float(np.nanmean(nme[(yaw >= low) & (yaw < high)])) for low, high in BINS}
    result["NME % all"] = bootstrapped(lambda chosen: float(np.nanmean(nme[chosen])), len(nme))
    result |= {"NME % inner 51": float(np.nanmean(inner)), "faces": len(nme)}
    result |= uncertainty(faces, labels["pts68"], seen)
    result["visibility AUC"] = visibility_auc(faces, labels["state"])
    if arguments.sheets:
        write_sheet(arguments.sheets / "merl_test.jpg", photos, faces, labels["yaw"])
    return result


def aflw2000(predictor: Predictor, arguments: argparse.Namespace) -> Results:
    labels = dict(np.load(arguments.data / "aflw2000_sample.npz"))
    pictures = images(arguments.data, "aflw2000_sample")
    photos = [pictures[f"{name}.jpg" if f"{name}.jpg" in pictures else str(name)] for name in labels["name"]]
    boxes = [box_of_crop(crop) for crop in labels["crop120_roi_box"]]
    faces = [predictor.predict(photo, [box])[0] for photo, box in zip(photos, boxes, strict=True)]
    truth = labels["pts68_reannotated"] + 0.5  # the set's pixel indices to this project's pixel centres
    nme = visible_nme(points68(faces), truth, np.ones(truth.shape[:2], bool))
    bins = yaw_bins(labels["pose"][:, 1])
    per_bin = [float(nme[chosen].mean()) for chosen in bins]
    result = {f"NME % yaw {low}-{high}": value for (low, high), value in zip(BINS, per_bin, strict=True)}
    result["NME % mean of bins"] = bootstrapped(
        lambda chosen: float(np.mean([nme[chosen][part[chosen]].mean() for part in bins])), len(nme)
    )
    rotation = np.stack([face.rotation for face in faces])
    result |= pose_errors("pose MAE", euler_deg(rotation, AFLW2000), labels["pose"])
    error = angle_errors(euler_deg(rotation, AFLW2000), labels["pose"])
    result["pose MAE deg"] = bootstrapped(lambda chosen: float(error[chosen].mean()), len(error))
    aligned = rotation @ frame_turn(labels)
    result |= pose_errors("pose MAE, frames aligned", euler_deg(aligned, AFLW2000), labels["pose"])
    if arguments.sheets:
        write_sheet(arguments.sheets / "aflw2000_sample.jpg", photos, faces, labels["pose"][:, 1])
    return result


def points68(faces: list[Face]) -> np.ndarray:
    return np.stack([face.to("ibug68").points_2d for face in faces])


def visible_nme(points: np.ndarray, truth: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Per face, percent: mean distance over seen points by sqrt(w h) of the box of all labelled points; NaN if none."""
    side = np.nanmax(truth, axis=1) - np.nanmin(truth, axis=1)
    error = np.where(seen, np.linalg.norm(points - np.nan_to_num(truth), axis=-1), 0).sum(1)
    count = seen.sum(1)
    return np.where(count > 0, 100 * error / np.maximum(count, 1) / np.sqrt(side.prod(-1)), np.nan)


def yaw_bins(yaw: np.ndarray) -> list[np.ndarray]:
    return [(np.abs(yaw) >= low) & (np.abs(yaw) < high) for low, high in BINS]


def pose_errors(name: str, found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    pitch, yaw, roll = angle_errors(found, truth).mean(0)
    return {f"{name} pitch": pitch, f"{name} yaw": yaw, f"{name} roll": roll, f"{name} deg": (pitch + yaw + roll) / 3}


def angle_errors(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.abs((found - truth + 180) % 360 - 180)


def frame_turn(labels: dict[str, np.ndarray]) -> np.ndarray:
    """Constant turn between AFLW2000's head frame and the canonical one, from the set's labels alone.

    The set's own 3D points are aligned with the mean head; what its pose says beyond that alignment is a property of
    the two frames, not of any prediction.
    """
    head = conversion("wflw98", "ibug68") @ mean_head()
    points = labels["pts68_orig"].transpose(0, 2, 1) * [1, 1, -1]
    fitted = procrustes(np.broadcast_to(head, points.shape), points, with_scale=True).rotation
    u, _, vt = np.linalg.svd((fitted.transpose(0, 2, 1) @ rotation_from_euler(labels["pose"], AFLW2000)).sum(0))
    return u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt


def uncertainty(faces: list[Face], truth: np.ndarray, seen: np.ndarray) -> dict[str, float]:
    """Share of visible points inside the 50 and 90 % ellipses of the predicted Laplacian."""
    faces = [face.to("ibug68") for face in faces]
    difference = np.stack([face.points_2d for face in faces])[seen] - truth[seen]
    covariance = np.stack([face.covariances for face in faces])[seen]
    radius = np.sqrt(np.einsum("ni,nij,nj->n", difference, np.linalg.inv(covariance), difference))
    # P(r < q) of the 2D Laplacian exp(-sqrt(3) r): 1 - (1 + sqrt(3) q) exp(-sqrt(3) q)
    quantiles = {50: 1.6783 / np.sqrt(3), 90: 3.8897 / np.sqrt(3)}
    return {f"inside {level} % ellipse": 100 * float((radius < q).mean()) for level, q in quantiles.items()}


def visibility_auc(faces: list[Face], state: np.ndarray) -> float:
    """Area under the ROC curve of visible against hidden points (Mann-Whitney)."""
    score = np.stack([face.to("ibug68").visibility for face in faces]).ravel()
    positive = (state == 0).ravel()
    order = np.empty(len(score))
    order[np.argsort(score, kind="stable")] = np.arange(1, len(score) + 1)
    count = positive.sum()
    return float((order[positive].sum() - count * (count + 1) / 2) / (count * (~positive).sum()))


def write_sheet(path: Path, photos: list[np.ndarray], faces: list[Face], yaw: np.ndarray) -> None:
    """24 faces from one profile over frontal to the other."""
    chosen = np.argsort(yaw)[np.linspace(0, len(yaw) - 1, 24).astype(int)]
    tiles = [Image.fromarray(draw_faces(photos[i], [faces[i]])).resize((240, 240)) for i in chosen]
    sheet = Image.new("RGB", (8 * 240, 3 * 240))
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % 8 * 240, index // 8 * 240))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


if __name__ == "__main__":
    main()
