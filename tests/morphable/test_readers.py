"""Released models, from small files with their names and layouts."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy.io import savemat

from facelift.datasets.readers.meshes import Mesh
from facelift.datasets.readers.wavefront import write_obj
from facelift.morphable.linear import LinearModel
from facelift.morphable.readers.bfm09 import read_bfm09, read_exp_pca
from facelift.morphable.readers.bfm2017 import read_bfm2017
from facelift.morphable.readers.columns import outward
from facelift.morphable.readers.ict import LANDMARKS, read_ict
from facelift.morphable.readers.synergynet import read_synergynet
from facelift.morphable.readers.tddfa import read_tddfa


@pytest.fixture
def truth(plain) -> LinearModel:
    """What the files hold."""
    numbers = {name: getattr(plain, name).astype(np.float32) for name in ("mean", "shape", "expression")}
    return replace(plain, **numbers)


def columns(offsets: np.ndarray) -> np.ndarray:
    """x0 y0 z0 x1 ... of each component as a column; written out, so that no reshape of the readers is repeated."""
    return np.array([[offsets[k, i // 3, i % 3] for k in range(len(offsets))] for i in range(3 * offsets.shape[1])])


def rows_of(landmarks: np.ndarray) -> np.ndarray:
    return np.array([3 * vertex + axis for vertex in landmarks for axis in range(3)])


def assert_first(model: LinearModel, truth: LinearModel, shape: int = 4, expression: int = 2) -> None:
    """The first components of the truth, its landmarks, and its triangles either way round."""
    np.testing.assert_allclose(model.mean, truth.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.shape, truth.shape[:shape], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.expression, truth.expression[:expression], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(model.landmark_vertices, truth.landmark_vertices)
    np.testing.assert_array_equal(np.sort(model.faces), np.sort(truth.faces))
    assert model.mean.dtype == model.shape.dtype == model.expression.dtype == np.float32 and model.uv is None
    assert model.shape.flags.c_contiguous and not any(source.free for source in model.sources)


def dump(path, value) -> None:
    path.write_bytes(pickle.dumps(value, protocol=2))


@pytest.fixture
def tddfa(truth, tmp_path):
    held = {
        "u": columns(truth.mean[None]),
        "w_shp": columns(truth.shape),
        "w_exp": columns(truth.expression),
        "keypoints": rows_of(truth.landmark_vertices),
    }
    dump(tmp_path / "bfm_noneck_v3.pkl", held)
    dump(tmp_path / "tri.pkl", truth.faces.T)
    dump(tmp_path / "param_mean_std_62d_120x120.pkl", {"mean": truth.whitening.mean, "std": truth.whitening.std})
    return tmp_path


def test_tddfa(tddfa, truth):
    model = read_tddfa(tddfa, shape=4, expression=2)
    assert_first(model, truth)
    np.testing.assert_allclose(model.whitening.std, truth.whitening.std[:18], rtol=1e-6)
    assert_first(read_tddfa(tddfa, shape=None, expression=None), truth, 5, 3)


def change(path, **values) -> None:
    held = pickle.loads(path.read_bytes())
    dump(path, held | values)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("bfm_noneck_v3.pkl", {"w_shp": np.zeros((299, 5))}, r"w_shp as \(300, 4 or more\) numbers, found \(299, 5\)"),
        ("bfm_noneck_v3.pkl", {"w_exp": np.zeros((300, 1))}, r"w_exp as \(300, 2 or more\) numbers, found \(300, 1\)"),
        ("bfm_noneck_v3.pkl", {"u": np.zeros((301, 1))}, r"u as one column of x, y, z, found \(301, 1\)"),
        ("bfm_noneck_v3.pkl", {"u": np.full((300, 1), np.inf)}, "u as finite numbers, found 300 others"),
        ("bfm_noneck_v3.pkl", {"u": None}, "arrays u, w_shp, w_exp, keypoints, found u, w_shp"),
        ("bfm_noneck_v3.pkl", {"keypoints": np.arange(68)}, r"rows x, y, z of 68 vertices, found \(68,\)"),
        ("param_mean_std_62d_120x120.pkl", {"mean": np.zeros(3)}, r"mean as 18 numbers, found \(3,\)"),
    ],
)
def test_files_of_other_sizes_are_refused(tddfa, name, values, message):
    change(tddfa / name, **values)
    with pytest.raises(ValueError, match=rf"{name}: expected .*{message}"):
        read_tddfa(tddfa, shape=4, expression=2)


def test_triangles_and_landmarks_outside_are_refused(tddfa):
    dump(tddfa / "tri.pkl", np.full((3, 4), 100))
    with pytest.raises(ValueError, match=r"triangles: expected vertices 0\.\.99, found 100\.\.100"):
        read_tddfa(tddfa, shape=4, expression=2)
    (tddfa / "tri.pkl").unlink()
    with pytest.raises(FileNotFoundError, match=r"tri\.pkl: expected 3DDFA_V2's triangles"):
        read_tddfa(tddfa, shape=4, expression=2)


@pytest.fixture
def synergynet(truth, tmp_path, rng):
    moved = rng.standard_normal((100, 3))
    for name, array in (
        ("u_shp", columns((truth.mean - moved)[None])),
        ("u_exp", columns(moved[None])),
        ("w_shp_sim", columns(truth.shape)),
        ("w_exp_sim", columns(truth.expression)),
        ("keypoints_sim", rows_of(truth.landmark_vertices)),
    ):
        np.save(tmp_path / f"{name}.npy", array)
    savemat(tmp_path / "tri.mat", {"tri": truth.faces.T + 1})
    texture = np.ones(40)
    statistics = {"param_mean": truth.whitening.mean, "param_std": np.concatenate([truth.whitening.std, texture])}
    dump(tmp_path / "param_whitening.pkl", statistics)
    return tmp_path


def test_synergynet(synergynet, truth):
    model = read_synergynet(synergynet, shape=4, expression=2)
    assert_first(model, truth)
    np.testing.assert_allclose(model.whitening.mean, truth.whitening.mean[:18], rtol=1e-6)
    assert_first(read_synergynet(synergynet, shape=None, expression=None), truth, 5, 3)
    np.save(synergynet / "u_exp.npy", np.zeros((303, 1)))
    with pytest.raises(ValueError, match=r"u_exp\.npy: expected 300 rows as in u_shp\.npy, found 303"):
        read_synergynet(synergynet, shape=4, expression=2)
    np.save(synergynet / "u_exp.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(
        ValueError, match=r"u_exp\.npy: expected SynergyNet's mean face, found a file that does not load"
    ):
        read_synergynet(synergynet)


@pytest.fixture
def bfm09(truth, tmp_path, rng):
    """The model's 100 vertices among 110, in another order."""
    kept, moved = rng.permutation(110)[:100], rng.standard_normal((100, 3)).astype(np.float32)
    whole = {name: rng.standard_normal((k, 110, 3)) for name, k in (("mean", 1), ("shape", 5))}
    whole["mean"][0, kept], whole["shape"][:, kept] = truth.mean - moved, truth.shape
    deviations = np.array([5.0, 4, 3, 2, 1])
    outside = np.setdiff1d(np.arange(110), kept)[:3]
    savemat(
        tmp_path / "01_MorphableModel.mat",
        {
            "shapeMU": columns(whole["mean"]),
            "shapePC": columns(whole["shape"] / deviations[:, None, None]),
            "shapeEV": deviations[:, None],
            "tl": np.concatenate([kept[truth.faces], [outside]]) + 1,
            "texMU": np.zeros((330, 1)),
        },
    )
    savemat(
        tmp_path / "model_info.mat", {"trimIndex": kept[:, None] + 1, "keypoints": truth.landmark_vertices[None] + 1}
    )
    scaled = (truth.expression / np.array([2.0, 4, 8])[:, None, None]).astype("<f4")
    (tmp_path / "Exp_Pca.bin").write_bytes(np.int32(3).tobytes() + moved.tobytes() + scaled.tobytes())
    (tmp_path / "std_exp.txt").write_text("2.0 4.0 8.0\n")
    return tmp_path


def test_bfm09(bfm09, truth, tmp_path):
    model = read_bfm09(bfm09, shape=4, expression=2)
    assert_first(model, truth)
    assert (model.whitening.std == 1).all() and model.whitening.mean.shape == (18,)
    (bfm09 / "std_exp.txt").unlink()
    plain = read_bfm09(bfm09, shape=None, expression=None)
    np.testing.assert_allclose(plain.expression[1] * 4, truth.expression[1], rtol=1e-5)
    (tmp_path / "marks.txt").write_text(" ".join(map(str, range(68))))
    assert read_bfm09(bfm09, shape=1, expression=1, landmarks=tmp_path / "marks.txt").landmark_vertices[67] == 67


def test_bfm09_says_what_does_not_fit(bfm09, truth):
    savemat(bfm09 / "model_info.mat", {"trimIndex": np.arange(1, 100)[:, None]})
    with pytest.raises(
        ValueError, match=r"model_info\.mat: expected trimIndex of 100 vertices 1\.\.110, found 99 in 1"
    ):
        read_bfm09(bfm09, shape=4, expression=2)
    savemat(bfm09 / "model_info.mat", {"trimIndex": np.arange(1, 101)[:, None]})
    with pytest.raises(
        ValueError, match=r"expected 68 keypoints in model_info\.mat, or a file of landmarks, found none"
    ):
        read_bfm09(bfm09, shape=4, expression=2)
    (bfm09 / "model_info.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"tell the 100 vertices of Exp_Pca\.bin among the 110"):
        read_bfm09(bfm09, shape=4, expression=2)
    with pytest.raises(ValueError, match=r"shapePC as \(330, 40 or more\) numbers, found \(330, 5\)"):
        read_bfm09(bfm09)
    (bfm09 / "Exp_Pca.bin").write_bytes((bfm09 / "Exp_Pca.bin").read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"Exp_Pca\.bin: expected .* found n = 3 in 4800 bytes"):
        read_exp_pca(bfm09 / "Exp_Pca.bin")


@pytest.fixture
def bfm2017(truth, tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "model.h5", "w") as file:
        for name, mean, basis in (
            ("shape", truth.mean, truth.shape),
            ("expression", 0 * truth.mean, truth.expression),
        ):
            variance = np.arange(1, len(basis) + 1.0) ** 2
            file[f"{name}/model/mean"] = mean.ravel()
            file[f"{name}/model/pcaBasis"] = columns(basis) / np.sqrt(variance)
            file[f"{name}/model/pcaVariance"] = variance
        file["shape/representer/cells"] = truth.faces.T
    (tmp_path / "marks.txt").write_text("\n".join(map(str, truth.landmark_vertices)))
    return tmp_path


def test_bfm2017(bfm2017, truth):
    model = read_bfm2017(bfm2017 / "model.h5", bfm2017 / "marks.txt", shape=4, expression=2)
    assert_first(model, truth)
    (bfm2017 / "marks.txt").write_text("1 2 3")
    with pytest.raises(ValueError, match=r"marks\.txt: expected 68 vertex indices from 0, found 3 words"):
        read_bfm2017(bfm2017 / "model.h5", bfm2017 / "marks.txt", shape=4, expression=2)
    import h5py

    with h5py.File(bfm2017 / "model.h5", "a") as file:
        del file["expression/model/mean"]
    with pytest.raises(
        ValueError, match=r"model\.h5: expected a data set expression/model/mean, found expression, shape"
    ):
        read_bfm2017(bfm2017 / "model.h5", bfm2017 / "marks.txt", shape=4, expression=2)
    (bfm2017 / "model.h5").write_bytes(b"no such thing")
    with pytest.raises(ValueError, match=r"model\.h5: expected an HDF5 file, found 13 bytes"):
        read_bfm2017(bfm2017 / "model.h5", bfm2017 / "marks.txt")


def test_bfm2017_says_that_it_needs_h5py(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (tmp_path / "model.h5").write_bytes(b"anything")
    with pytest.raises(ImportError, match=r"model\.h5: expected h5py to read it, .*pip install h5py"):
        read_bfm2017(tmp_path / "model.h5", tmp_path / "marks.txt")


def test_ict(tmp_path, rng):
    """Deltas of files in the order of their names; the narrow face of a longer mesh."""
    mean, steps = rng.standard_normal((6710, 3)), rng.standard_normal((4, 6710, 3))
    faces = np.array([[0, 1, 2], [6705, 3, 4], [6706, 3, 4]])
    names = ["identity000", "identity001", "browDown_L", "jawOpen"]
    write_obj(tmp_path / "generic_neutral_mesh.obj", Mesh(mean, faces))
    for name, step in zip(names, steps, strict=True):
        write_obj(tmp_path / f"{name}.obj", Mesh(mean + step, faces))
    model = read_ict(tmp_path, shape=2, part="narrow")
    np.testing.assert_allclose(model.mean, mean[:6706], atol=1e-6)
    np.testing.assert_allclose(model.shape, steps[:2, :6706], atol=1e-5)
    np.testing.assert_allclose(model.expression, steps[2:, :6706], atol=1e-5)
    assert model.faces.tolist() == [[0, 1, 2], [6705, 3, 4]] and model.sources[0].free
    np.testing.assert_array_equal(model.landmark_vertices, LANDMARKS)
    with pytest.raises(FileNotFoundError, match=r"expected 3 files identity\*\.obj, found 2"):
        read_ict(tmp_path, shape=3, part="narrow")
    with pytest.raises(ValueError, match="expected 9409 or more vertices and faces, found 6710"):
        read_ict(tmp_path, shape=2)
    write_obj(tmp_path / "jawOpen.obj", Mesh(mean[1:], faces[:1]))
    with pytest.raises(ValueError, match=r"jawOpen\.obj: expected 6710 finite vertices as in generic_.*, found 6709"):
        read_ict(tmp_path, shape=2, part="narrow")


def test_landmarks_of_ict_are_those_of_the_open_head(assets_dir):
    with np.load(assets_dir / "head.npz") as file:
        np.testing.assert_array_equal(file["original_vertex"][file["landmarks68_vertices"]], LANDMARKS)


def test_triangles_turn_outward():
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    outside = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    np.testing.assert_array_equal(outward(corners, outside), outside)
    turned = outward(corners, outside[:, ::-1])
    a, b, c = corners[turned].transpose(1, 0, 2)
    assert ((np.cross(b - a, c - a) * (a - corners.mean(0))).sum(-1) > 0).all()
