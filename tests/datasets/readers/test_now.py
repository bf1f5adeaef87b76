"""NoW in its released layout: photos, pickled boxes that must not run, scans with seven points, submissions."""

import pickle

import cv2
import numpy as np
import pytest

from facelift.datasets.readers.meshes import Mesh
from facelift.datasets.readers.now import NoW, read_box, read_prediction, write_prediction
from facelift.datasets.readers.wavefront import write_obj

SUBJECT = "FaMoS_180424_03335_TA"
PHOTOS = ("multiview_neutral/IMG_0041", "multiview_expressions/IMG_0045", "selfie/IMG_0090")


def write_subject(root, rng):
    (root / "imagepathsvalidation.txt").write_text("".join(f"{SUBJECT}/{photo}.jpg\n" for photo in PHOTOS) + "\n")
    picture = np.full((60, 40, 3), (0, 0, 255), np.uint8)  # BGR: red
    for order, photo in enumerate(PHOTOS):
        for folder in ("iphone_pictures", "detected_face"):
            (root / folder / SUBJECT / photo).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / "iphone_pictures" / SUBJECT / f"{photo}.jpg"), picture)
        box = {"left": np.float64(4 + order), "right": 30.5, "top": 7, "bottom": np.int64(50)}
        np.save(root / "detected_face" / SUBJECT / f"{photo}.npy", box, allow_pickle=True)
    scan = Mesh(rng.normal(0, 80, (20, 3)), np.array([[0, 1, 2]]))
    write_obj(root / "scans" / SUBJECT / "natural_head_rotation.000001.obj", scan)
    points = rng.normal(0, 40, (7, 3))
    lines = [f'<point x="{x}" y="{y}" z="{z}" active="1" name="{i}"/>' for i, (x, y, z) in enumerate(points.tolist())]
    folder = root / "scans_lmks_onlypp" / SUBJECT
    folder.mkdir(parents=True)
    body = "\n".join(lines)
    (folder / "natural_head_rotation.000001_picked_points.pp").write_text(f"<PickedPoints>\n{body}\n</PickedPoints>")
    return scan, points


@pytest.fixture
def written(tmp_path, rng):
    root = tmp_path / "final_release_version"
    root.mkdir()
    return tmp_path, *write_subject(root, rng)


def test_samples(written):
    root, scan, points = written
    data = NoW(root)
    assert (len(data), data.name) == (3, "now_val")
    sample = data[1]
    assert sample.face.name == f"{SUBJECT}/multiview_expressions/IMG_0045" and sample.face.identity == SUBJECT
    assert sample.face.attributes == {"challenge": "multiview_expressions"}
    np.testing.assert_array_equal(sample.face.box, [5, 7, 30.5, 50])
    np.testing.assert_allclose(sample.face.points_3d, points, atol=1e-12)
    assert np.isnan(sample.face.points).all() and sample.face.scheme == "now7"
    np.testing.assert_array_equal(sample.mesh.vertices, scan.vertices)
    assert sample.mesh.unit == "mm" and sample.camera is None
    assert sample.face.image.shape == (60, 40, 3) and sample.face.image[30, 20, 0] > 240


def test_parts_may_lie_beside_the_release(written):
    root, inner = written[0], written[0] / "final_release_version"
    for part in ("imagepathsvalidation.txt", "scans", "scans_lmks_onlypp"):
        (inner / part).rename(root / part)
    sample = NoW(root)[2]
    np.testing.assert_array_equal(sample.mesh.vertices, written[1].vertices)
    np.testing.assert_array_equal(sample.face.box, [6, 7, 30.5, 50])
    (root / "scans").rename(root / "meshes")
    with pytest.raises(FileNotFoundError, match=r"scans: expected scans of NoW here or in final_release_version"):
        NoW(root)


def test_test_split_is_read_without_scans(written):
    inner = written[0] / "final_release_version"
    (inner / "imagepathsvalidation.txt").rename(inner / "imagepathstest.txt")
    np.testing.assert_array_equal(NoW(written[0], "test")[0].face.points_3d, NoW(written[0], "test")[2].face.points_3d)
    (inner / "scans").rename(inner / "meshes")
    sample = NoW(written[0], "test")[1]
    assert sample.face.points_3d is None and sample.face.image.shape == (60, 40, 3)
    with pytest.raises(FileNotFoundError, match=rf"{SUBJECT}: expected a scan, found none: .* not public"):
        _ = sample.mesh
    (inner / "imagepathstest.txt").rename(inner / "imagepathsvalidation.txt")
    with pytest.raises(FileNotFoundError, match="expected scans of NoW"):
        NoW(written[0])


def test_one_challenge(written):
    data = NoW(written[0] / "final_release_version", challenge="selfie")
    assert (len(data), data.name) == (1, "now_val_selfie")
    with pytest.raises(ValueError, match="challenge of NoW: expected one of"):
        NoW(written[0], challenge="neutral")
    with pytest.raises(ValueError, match="photos of multiview_occlusions, found none"):
        NoW(written[0], challenge="multiview_occlusions")


def test_stored_pixels_are_read_whatever_exif_says(written):
    from PIL import Image

    path = written[0] / "final_release_version/iphone_pictures" / SUBJECT / f"{PHOTOS[0]}.jpg"
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.copy().save(path, exif=exif)
    assert NoW(written[0])[0].face.image.shape == (60, 40, 3)


def test_missing_parts_are_named(written):
    root = written[0] / "final_release_version"
    with pytest.raises(FileNotFoundError, match=r"imagepathstest\.txt: expected imagepathstest\.txt of NoW here or in"):
        NoW(root, "test")
    with pytest.raises(FileNotFoundError, match="nowhere: expected the folder of NoW, found nothing"):
        NoW(root / "nowhere")
    with pytest.raises(ValueError, match="split of NoW"):
        NoW(root, "train")
    box = root / "detected_face" / SUBJECT / f"{PHOTOS[2]}.npy"
    saved = box.read_bytes()
    box.unlink()
    with pytest.raises(FileNotFoundError, match=r"IMG_0090\.npy: expected the detected face .*, found 2 of 3"):
        NoW(root)
    box.write_bytes(saved)
    scan = root / "scans" / SUBJECT / "natural_head_rotation.000001.obj"
    scan.rename(scan.with_suffix(".ply"))
    with pytest.raises(FileNotFoundError, match=r"expected one file \*\.obj, found 0"):
        NoW(root)
    (root / "imagepathsvalidation.txt").write_text(f"{SUBJECT}/{PHOTOS[1]}.jpg\n" * 2)
    with pytest.raises(ValueError, match=rf"every photo once, found {SUBJECT}/{PHOTOS[1]}\.jpg again"):
        NoW(root)
    (root / "imagepathsvalidation.txt").write_text("a/b.jpg\n")
    with pytest.raises(ValueError, match=r"lines SUBJECT/CHALLENGE/IMG\.jpg, found 'a/b\.jpg'"):
        NoW(root)


def test_six_points_are_refused(written):
    path = next((written[0] / "final_release_version/scans_lmks_onlypp" / SUBJECT).iterdir())
    path.write_text("\n".join(line for line in path.read_text().splitlines() if 'name="6"' not in line))
    with pytest.raises(ValueError, match="expected 7 picked points, found 6"):
        NoW(written[0])[0]


class Attack:
    """Unpickled the ordinary way, it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_pickled_boxes_run_nothing(tmp_path):
    path, hit = tmp_path / "box.npy", tmp_path / "hit"
    np.save(path, {"left": Attack(hit)}, allow_pickle=True)
    with pytest.raises(ValueError, match=r"box\.npy: expected a pickled .*found: a call of _?io\.open"):
        read_box(path)
    assert not hit.exists()
    np.load(path, allow_pickle=True)
    assert hit.exists()  # the attack is a real one


def test_boxes_of_old_numpy_and_python_2(tmp_path):
    """Protocol 2 and the module names before NumPy 2, as the released files were written."""
    path = tmp_path / "box.npy"
    array = np.array({"left": np.float32(1.5), "right": 9, "top": np.int64(2), "bottom": 8.0}, dtype=object)
    np.save(path, array, allow_pickle=True)
    head = path.read_bytes().partition(b"\n")[0] + b"\n"
    body = pickle.dumps(array, protocol=2, fix_imports=True).replace(b"numpy._core", b"numpy.core")
    path.write_bytes(head + body)
    assert b"numpy.core.multiarray" in body
    np.testing.assert_array_equal(read_box(path), [1.5, 2, 9, 8])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"left": 1, "right": 2, "top": 1}, "found: 'bottom'"),
        ({"left": 5, "right": 2, "top": 1, "bottom": 3}, "left < right and top < bottom"),
        ({"left": 1, "right": 2, "top": 1, "bottom": float("nan")}, "left < right"),
        (np.zeros(4), r"an array \(4,\) of float64"),
    ],
)
def test_boxes_that_are_none_are_refused(tmp_path, value, message):
    np.save(tmp_path / "box.npy", value, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        read_box(tmp_path / "box.npy")


def test_submissions_round_trip(tmp_path, rng):
    mesh, landmarks = Mesh(rng.normal(size=(9, 3)), np.array([[0, 1, 2]]), unit="unknown"), rng.normal(size=(7, 3))
    write_prediction(tmp_path, f"{SUBJECT}/{PHOTOS[0]}", mesh, landmarks)
    assert (tmp_path / SUBJECT / f"{PHOTOS[0]}.obj").is_file()
    read, points = read_prediction(tmp_path, f"{SUBJECT}/{PHOTOS[0]}")
    assert (read.vertices == mesh.vertices).all() and (points == landmarks).all() and read.unit == "unknown"
    array = tmp_path / SUBJECT / f"{PHOTOS[0]}.npy"
    array.unlink()
    np.savetxt(array.with_suffix(".txt"), landmarks)
    np.testing.assert_allclose(read_prediction(tmp_path, f"{SUBJECT}/{PHOTOS[0]}")[1], landmarks, atol=1e-15)
    for text, message in (("1 2 x\n", "found.*x"), ("1 2 3\n", r"7 x 3 finite landmarks, found an array \(1, 3\)")):
        array.with_suffix(".txt").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_prediction(tmp_path, f"{SUBJECT}/{PHOTOS[0]}")
    array.with_suffix(".txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"IMG_0041\.txt: expected 7 landmarks"):
        read_prediction(tmp_path, f"{SUBJECT}/{PHOTOS[0]}")
