"""IDE-3D: files of our own with its names, written as its are; their embedded code runs by choice alone."""

import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import torch

from facelift.generators.ide3d import (
    BACKGROUND,
    CLASSES,
    FIELD,
    Ide3dGenerator,
    clear_background,
    is_ide3d,
    read_ide3d,
    zoomed,
)
from facelift.generators.ide3d_process import BackgroundClearing
from facelift.generators.stage import build_generator
from facelift.geometry import look_at_rotation, sphere_translation

LIBRARY = {
    "torch_utils/__init__.py": "",
    "torch_utils/persistence.py": """
        import copy, sys, types, uuid

        def _reconstruct_persistent_obj(meta):
            module = types.ModuleType("embedded_" + uuid.uuid4().hex)
            sys.modules[module.__name__] = module
            exec(meta["module_src"], module.__dict__)
            made = module.__dict__[meta["class_name"]].__new__(module.__dict__[meta["class_name"]])
            made.__dict__.update(meta["state"])
            return made

        class Persistent:
            def __init__(self, source, name, state):
                self.meta = dict(type="class", version=6, module_src=source, class_name=name, state=state)
            def __reduce__(self):
                return _reconstruct_persistent_obj, (self.meta,)
    """,
}
SOURCE = """
import torch

class Generator(torch.nn.Module):
    def mapping(self, z, c, truncation_psi=1):
        return self.mapper(z, c)[:, None].expand(-1, self.num_ws, -1) * truncation_psi

    def synthesis(self, ws, c, noise_mode="const"):
        print("chatter on stdout" * self.loud)
        field = self.decoder(ws, c)
        image = torch.sigmoid(field[..., -1]).reshape(1, 1, 4, 4, -1).mean(-1)
        right = c[:, :16].reshape(1, 4, 4)
        return (torch.cat([image, right[:, 0, 0].expand(1, 1, 4, 4), right[:, 1, 1].expand(1, 1, 4, 4)], 1), None)

class Mapper(torch.nn.Module):
    num_ws = 18
    def forward(self, z, c):
        return z[:, :8] + c[:, :8]

class Decoder(torch.nn.Module):
    def forward(self, ws, c):
        field = torch.zeros(1, 16 * 6, 52)
        field[..., 32] = 1.0          # all of it background
        field[..., -1] = 50.0
        return field
"""


@pytest.fixture
def files(tmp_path):
    return written(tmp_path)


def written(tmp_path, *, steps=6, loud=1):
    """(checkpoint, library), written by another process so that nothing of theirs is importable here."""
    for name, text in LIBRARY.items():
        (tmp_path / "library" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "library" / name).write_text(textwrap.dedent(text))
    (tmp_path / "source.py").write_text(SOURCE)
    program = """
        import pickle, torch
        from torch_utils.persistence import Persistent
        source = open("source.py").read()
        plain = torch.nn.Module().__dict__
        def module(name, **more):
            return Persistent(source, name, {**plain, "_modules": {}, "training": False, **more})
        parts = {"mapper": module("Mapper", num_ws=18), "decoder": module("Decoder")}
        state = {"weight": torch.nn.Parameter(torch.arange(3.0))}
        top = module("Generator", num_ws=18, num_steps=STEPS, loud=LOUD, _modules=parts, _parameters=state)
        pickle.dump({"G_ema": top}, open("ide3d.pkl", "wb"), protocol=4)
    """
    program = program.replace("STEPS", str(steps)).replace("LOUD", str(loud))
    command = [sys.executable, "-c", textwrap.dedent(program)]
    environment = {"PYTHONPATH": str(tmp_path / "library"), "PATH": ""}
    subprocess.run(command, check=True, cwd=tmp_path, env=environment, timeout=120)
    return tmp_path / "ide3d.pkl", tmp_path / "library"


def test_tensors_settings_and_source_are_read_without_running_it(files):
    found = read_ide3d(files[0])
    assert found.part("G_ema")["weight"].tolist() == [0, 1, 2]
    assert found.settings["G_ema"]["num_steps"] == 6
    assert found.sources["Generator"].strip() == SOURCE.strip()


def test_without_the_choice_nothing_runs_and_the_risk_is_said(files, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("started"))
    with pytest.raises(ValueError, match=r"ide3d\.pkl: .*runs the program inside its checkpoint.*no protection"):
        Ide3dGenerator(files[0], library=files[1])


def test_with_the_choice_its_pictures_come_from_another_process(files):
    """OpenGL's cameras: the second column of the matrix is up. Its background before the face is cleared: of six
    samples of background with density the near three have none, so that the mean is half."""
    rotations = look_at_rotation(np.array([0.0, 40.0]), 0.0)
    with Ide3dGenerator(files[0], library=files[1], run_embedded_code=True) as generator:
        views = generator.render(3, rotations, sphere_translation(rotations), 4)
        assert generator.landmarks(3) is None
    assert "torch_utils" not in sys.modules
    level = [round((value + 1) * 127.5) for value in (0.5, rotations[1, 0, 0], 1.0)]
    assert views[0].image[0, 0].tolist() == pytest.approx([level[0], 255, 255], abs=1)
    assert views[1].image[0, 0].tolist() == pytest.approx(level, abs=1)


def test_failures_of_the_code_are_told(files):
    path, library = files
    (library / "torch_utils" / "persistence.py").write_text("raise ImportError('no such library')")
    generator = Ide3dGenerator(path, library=library, run_embedded_code=True)
    rotations = look_at_rotation(np.array([0.0]), 0.0)
    with pytest.raises(RuntimeError, match=r"(?s)the code inside the checkpoint failed: .*no such library"):
        generator.render(0, rotations, sphere_translation(rotations), 4)
    generator.close()


def test_other_pickles_are_no_ide3d(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"x\.pt: expected a pickle of IDE-3D with num_ws = 18, found num_ws = None"):
        read_ide3d(tmp_path / "x.pt")


def test_chatter_does_not_stop_the_answer(tmp_path):
    """1 MB on stdout for each picture, more than any pipe holds; the last of it is what is told of a failure."""
    path, library = written(tmp_path, loud=60_000)
    rotations = look_at_rotation(np.array([0.0, 40.0]), 0.0)
    with Ide3dGenerator(path, library=library, run_embedded_code=True) as generator:
        timer = threading.Timer(120, generator._process.kill)
        timer.start()
        views = generator.render(3, rotations, sphere_translation(rotations), 4)
        timer.cancel()
    assert len(views) == 2
    assert sum(map(len, generator._said)) <= 16 << 14


def test_background_that_is_not_cleared_is_told(tmp_path):
    path, library = written(tmp_path, steps=0)
    rotations = look_at_rotation(np.array([0.0]), 0.0)
    told = pytest.raises(RuntimeError, match=r"found \d+ fields and no samples: background is not cleared")
    with Ide3dGenerator(path, library=library, run_embedded_code=True) as generator, told:
        generator.render(0, rotations, sphere_translation(rotations), 4)


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_background_is_cleared_in_the_near_half_alone(make):
    field = np.random.default_rng(0).normal(size=(1, 3 * 8, FIELD))
    field[..., CLASSES] -= 10
    behind = np.random.default_rng(1).random((1, 24)) < 0.5
    field[..., 32 + BACKGROUND][behind] = 5.0
    field[..., 32 + 4][~behind] = 5.0
    near = (np.arange(24) % 8 < 4)[None]
    found = np.asarray(clear_background(make(field), make(near)))
    expected = np.where(behind & near, -1e4, field[..., -1])
    np.testing.assert_allclose(found[..., -1], expected)
    np.testing.assert_array_equal(found[..., :-1], field[..., :-1])


class AllBackground(torch.nn.Module):
    def forward(self, points, directions):
        field = torch.zeros(*points.shape[:-1], FIELD)
        field[..., 32 + BACKGROUND] = 1.0
        return field


def test_near_is_a_matter_of_depth_where_points_are_given():
    """Rays from (0, 0, 2.7) with samples in any order and uneven, first over the frustum and then finely: the middle of
    2.2 to 3.2 is 2.7, whatever the order; directions, of length 1, are no points."""
    net = AllBackground()
    clearing = BackgroundClearing(net)
    label = torch.zeros(25)
    label[11] = 2.7
    coarse, fine = torch.tensor([[2.2, 2.6, 3.2], [3.2, 2.2, 2.69]]), torch.tensor([[2.75, 2.71, 2.65, 2.8]])
    with clearing.picture(label):
        for depths in (coarse, fine):
            points = torch.stack([torch.zeros_like(depths), torch.zeros_like(depths), 2.7 - depths], -1).reshape(
                1, -1, 3
            )
            directions = torch.tensor([0.0, 0.0, -1.0]).expand(points.shape)
            found = net(directions=directions, points=points)
            assert torch.equal(found[0, :, -1] < -1, depths.flatten() < 2.7)
    with pytest.raises(RuntimeError, match="found 0 fields and no samples"), clearing.picture(label):
        pass
    net.num_steps = 3
    with pytest.raises(RuntimeError, match="found 1 fields and 3 samples"), BackgroundClearing(net).picture(label):
        net(directions=torch.zeros(1, 4, 2), points=torch.zeros(1, 4, 2))


def test_a_measured_focal_length_is_set_right(files):
    """Twice the focal length makes a feature twice as large about the middle; its inverse brings it back."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[20:44, 20:44] = 255
    near = zoomed(image, 1.5, 64)
    assert (near[32, :, 0] > 127).sum() == 36 and np.array_equal(zoomed(image, 1.0, 64), image)
    assert (zoomed(near, 1 / 1.5, 64)[32, :, 0] > 127).sum() == pytest.approx(24, abs=1)
    assert zoomed(image, 1.5, 32).shape == (32, 32, 3)
    with pytest.raises(ValueError, match="focal: expected a factor above 0, found 0"):
        Ide3dGenerator(files[0], library=files[1], run_embedded_code=True, focal=0.0)


def test_the_file_decides_what_it_is_taken_for(files, tmp_path, monkeypatch):
    assert is_ide3d(files[0])
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    assert not is_ide3d(tmp_path / "other.pt")
    monkeypatch.setenv("FACELIFT_IDE3D_LIBRARY", str(files[1]))
    monkeypatch.delenv("FACELIFT_RUN_EMBEDDED_CODE", raising=False)
    with pytest.raises(ValueError, match=r"other\.pt: expected tensors G_ema\.backbone"):
        build_generator(str(tmp_path / "other.pt"))
    with pytest.raises(ValueError, match="no protection"):
        build_generator(str(files[0]))
    monkeypatch.setenv("FACELIFT_RUN_EMBEDDED_CODE", "yes")
    monkeypatch.delenv("FACELIFT_IDE3D_LIBRARY")
    with pytest.raises(ValueError, match="expected FACELIFT_IDE3D_LIBRARY"):
        build_generator(str(files[0]))
