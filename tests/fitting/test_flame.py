"""FLAME: its files, its mesh against a slow loop and against smplx, and what is refused."""

import os
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from flame_like import slow_vertices
from scipy.sparse import csc_matrix

from facelift.geometry import rotation_from_vector
from facelift.morphable.readers.flame import read_embedding, read_flame


def _pose(rng):
    """(5, 3), the root at rest."""
    return np.concatenate([np.zeros((1, 3)), rng.normal(0, 0.3, (4, 3))])


@pytest.mark.parametrize("batch", [(), (2,), (1, 2)])
def test_mesh_is_that_of_a_slow_loop(flame, flame_arrays, rng, batch):
    shape, expression = rng.standard_normal((*batch, 20)), rng.standard_normal((*batch, 15))
    joints = rng.normal(0, 0.3, (*batch, 4, 3))
    found = flame.vertices(shape, expression, joints)
    tensors = flame.vertices(*(torch.tensor(a) for a in (shape, expression, joints))).numpy()
    np.testing.assert_allclose(tensors, found, atol=1e-12)
    flat = zip(shape.reshape(-1, 20), expression.reshape(-1, 15), joints.reshape(-1, 4, 3), strict=True)
    for one, (own_shape, own_expression, own_joints) in zip(found.reshape(-1, *found.shape[-2:]), flat, strict=True):
        betas = np.zeros(400)
        betas[:20], betas[300:315] = own_shape, own_expression
        pose = np.concatenate([np.zeros((1, 3)), own_joints])
        np.testing.assert_allclose(one, slow_vertices(flame_arrays, betas, pose), atol=1e-8)  # arrays are float32


def test_mesh_is_that_of_smplx(flame_arrays, tmp_path, rng):
    """smplx's own FLAME on the same file; its root turns about the root joint."""
    smplx = pytest.importorskip("smplx")
    path = tmp_path / "FLAME_NEUTRAL.pkl"
    with path.open("wb") as file:
        pickle.dump(flame_arrays, file)
    _landmarks_of_theirs(tmp_path)
    theirs = smplx.FLAME(
        str(tmp_path), num_betas=20, num_expression_coeffs=15, use_face_contour=False, create_transl=False,
        dtype=torch.float64,
    )  # fmt: skip
    model = read_flame(path, shape=20, expression=15)
    betas, expression, pose = rng.standard_normal((2, 20)), rng.standard_normal((2, 15)), rng.normal(0, 0.3, (2, 5, 3))
    parts = {"global_orient": 0, "neck_pose": 1, "jaw_pose": 2, "leye_pose": 3, "reye_pose": 4}
    wanted = theirs(
        betas=torch.tensor(betas),
        expression=torch.tensor(expression),
        **{name: torch.tensor(pose[:, joint]) for name, joint in parts.items()},
    ).vertices.detach()
    root = rotation_from_vector(pose[:, 0])
    places = (flame_arrays["J_regressor"] @ model.vertices(betas, expression))[:, :1]
    found = (model.vertices(betas, expression, pose[:, 1:]) - places) @ root.swapaxes(1, 2) + places
    np.testing.assert_allclose(found, wanted.numpy(), atol=2e-7)


def _landmarks_of_theirs(folder):
    """smplx wants a landmark file beside the model."""
    path = folder / "flame_static_embedding.pkl"
    with path.open("wb") as file:
        pickle.dump({"lmk_face_idx": np.zeros(51, np.int64), "lmk_b_coords": np.full((51, 3), 1 / 3)}, file)


def _named(module, name):
    """A class of objects with a state, which pickles name as another package's."""
    return type(name, (), {"__module__": module, "__init__": lambda self, **state: self.__dict__.update(state)})


CHUMPY, SPARSE = _named("chumpy.ch", "Ch"), _named("scipy.sparse.csc", "csc_matrix")


def official(path, held, *, protocol=2, wrong_rows=False):
    """As the official file is: arrays of Chumpy, a sparse regressor, notes beside."""
    matrix = csc_matrix(held["J_regressor"])
    indices = matrix.indices + 10**6 * wrong_rows
    sparse = SPARSE(_shape=matrix.shape, data=matrix.data, indices=indices, indptr=matrix.indptr, maxprint=50)
    written = dict(held, bs_style="lbs", bs_type="lrotmin", J_regressor=sparse)
    for name in ("v_template", "shapedirs", "posedirs", "weights"):
        written[name] = CHUMPY(x=held[name], names=None, _dirty_vars=set())
    modules = {"chumpy": None, "chumpy.ch": CHUMPY, "scipy.sparse.csc": SPARSE}
    with pytest.MonkeyPatch.context() as patch:
        for module, kind in modules.items():
            patch.setitem(sys.modules, module, types.ModuleType(module))
            if kind is not None:
                setattr(sys.modules[module], kind.__name__, kind)
        path.write_bytes(pickle.dumps(written, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_official_pickle_is_read_without_chumpy(flame, flame_arrays, tmp_path, protocol):
    path = official(tmp_path / "generic_model.pkl", flame_arrays, protocol=protocol)
    found = read_flame(path, shape=20, expression=15)
    for name in ("mean", "shape", "expression", "faces", "correctives"):
        np.testing.assert_array_equal(getattr(found, name), getattr(flame, name))
    np.testing.assert_array_equal(found.joints.regressor, flame.joints.regressor)
    assert found.joints.names == ("neck", "jaw", "left_eye", "right_eye") and found.joints.parents.tolist() == [
        -1,
        0,
        0,
        0,
    ]


class _Call:
    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


def test_a_malicious_pickle_is_refused_and_not_run(flame_arrays, tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "generic_model.pkl"
    path.write_bytes(pickle.dumps(dict(flame_arrays, v_template=_Call(os.system, f"touch {marker}")), protocol=2))
    with pytest.raises(ValueError, match=r"generic_model.pkl.*(posix|nt)\.system"):
        read_flame(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cchumpy.ch\nCh\n(I1\ntR.",  # called with an argument
        b"cchumpy.ch\nCh\n)R(dS'x'\nI1\nsb.",  # an object alone, no dictionary of arrays
        b"cchumpy.ch\nCh\n(dS'x'\nI1\nsb.",  # a change of the class
        b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR.",
    ],
)
def test_misuse_of_stood_in_classes_is_refused(tmp_path, data):
    path = tmp_path / "model.pkl"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"model.pkl: expected FLAME"):
        read_flame(path)


BAD = {
    "missing": (lambda h: h.pop("weights"), "weights"),
    "weights of other vertices": (lambda h: h.update(weights=h["weights"][:-1]), r"weights of shape .*5\)"),
    "flat shapedirs": (lambda h: h.update(shapedirs=h["shapedirs"].reshape(-1, 400)), "shapedirs"),
    "few components": (lambda h: h.update(shapedirs=h["shapedirs"][..., :310]), "100 expression"),
    "no numbers": (lambda h: h.update(posedirs=np.full(h["posedirs"].shape, np.nan)), "correctives.*finite"),
    "faces outside": (lambda h: h.update(f=h["f"] + 5000), "faces"),
    "another tree": (lambda h: h.update(kintree_table=np.zeros((2, 5), int)), "kintree_table"),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_arrays_are_told(flame_arrays, tmp_path, name):
    change, message = BAD[name]
    held = dict(flame_arrays)
    change(held)
    np.savez(tmp_path / "bad.npz", **held)
    with pytest.raises(ValueError, match=r"bad.npz.*" + message):
        read_flame(tmp_path / "bad.npz")


def test_a_sparse_matrix_with_wrong_parts_is_refused(flame_arrays, tmp_path):
    path = official(tmp_path / "model.pkl", flame_arrays, wrong_rows=True)
    with pytest.raises(ValueError, match=r"model.pkl.*sparse"):
        read_flame(path)


def test_landmarks_lie_in_their_triangles(flame_path, flame_arrays, tmp_path, rng):
    triangles, weights = rng.integers(0, 500, 68), rng.dirichlet(np.ones(3), 68)
    full = {"full_lmk_faces_idx": triangles[None], "full_lmk_bary_coords": weights[None]}
    np.save(tmp_path / "full.npy", np.array(full, object), allow_pickle=True)
    (tmp_path / "static.pkl").write_bytes(
        pickle.dumps({"lmk_face_idx": triangles[17:].astype(np.uint32), "lmk_b_coords": weights[17:]}, protocol=2)
    )
    model = read_flame(flame_path, landmarks=tmp_path / "full.npy", shape=2, expression=2)
    found = model.landmark_points("ibug68", model.mean)
    for landmark in (0, 30, 67):
        corners = model.mean[flame_arrays["f"][triangles[landmark]]]
        np.testing.assert_allclose(found[landmark], weights[landmark] @ corners, atol=1e-6)
    static = read_embedding(tmp_path / "static.pkl", model.faces)
    assert (static.weights[:17] == 0).all()
    np.testing.assert_array_equal(static.vertices[17:], model.landmarks["ibug68"].vertices[17:])
    np.save(tmp_path / "other.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npy: expected FLAME's landmark embedding"):
        read_embedding(tmp_path / "other.npy", model.faces)
