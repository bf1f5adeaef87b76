"""EG3D's and PanoHead's files: names and shapes of the official model, and files of our own written as theirs are."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from facelift.checkpoints.checkpoint import open_checkpoint
from facelift.checkpoints.triplane import load_generator
from facelift.commands.inspect_checkpoint import convert
from facelift.generators.gan import GanGenerator
from facelift.generators.protocol import Generator
from facelift.geometry import intrinsics, look_at_rotation, sphere_translation
from facelift.geometry.gan_cameras import front_label, label_of
from facelift.models.stylegan2 import SynthesisConfig
from facelift.models.triplane import TriPlaneConfig, TriPlaneGenerator
from facelift.models.volume import RayConfig

sys.path.insert(0, str(Path(__file__).parent))
from network_pickles import _Persistent, nested, state_of, write


def official_ffhq() -> dict[str, tuple[int, ...]]:
    """Names and shapes of ffhq512-128.pkl, G_ema, as reference/formats.md has them."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, inputs: int, outputs: int, side: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs, 3, 3), (outputs,)
        shapes[f"{name}.noise_strength"], shapes[f"{name}.noise_const"] = (), (side, side)
        shapes[f"{name}.resample_filter"] = (4, 4)
        shapes[f"{name}.affine.weight"], shapes[f"{name}.affine.bias"] = (inputs, 512), (inputs,)

    def block(name: str, inputs: int, outputs: int, side: int, image: int) -> None:
        shapes[f"{name}.resample_filter"] = (4, 4)
        if inputs:
            layer(f"{name}.conv0", inputs, outputs, side)
        else:
            shapes[f"{name}.const"] = (outputs, side, side)
        layer(f"{name}.conv1", outputs, outputs, side)
        shapes[f"{name}.torgb.weight"], shapes[f"{name}.torgb.bias"] = (image, outputs, 1, 1), (image,)
        shapes[f"{name}.torgb.affine.weight"], shapes[f"{name}.torgb.affine.bias"] = (outputs, 512), (outputs,)

    before = 0
    for side, width in ((4, 512), (8, 512), (16, 512), (32, 512), (64, 512), (128, 256), (256, 128)):
        block(f"backbone.synthesis.b{side}", before, width, side, 96)
        before = width
    block("superresolution.block0", 32, 256, 256, 3)
    block("superresolution.block1", 256, 128, 512, 3)
    shapes["backbone.mapping.w_avg"] = (512,)
    for name, size in (("embed", (512, 25)), ("fc0", (512, 1024)), ("fc1", (512, 512))):
        shapes[f"backbone.mapping.{name}.weight"], shapes[f"backbone.mapping.{name}.bias"] = size, size[:1]
    for name, size in (("0", (64, 32)), ("2", (33, 64))):
        shapes[f"decoder.net.{name}.weight"], shapes[f"decoder.net.{name}.bias"] = size, size[:1]
    return shapes


def test_names_and_shapes_of_the_official_model():
    with torch.device("meta"):
        network = TriPlaneGenerator(TriPlaneConfig())
    expected = official_ffhq()
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == expected
    assert len(expected) == 176
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 2) == 30.66


RENDERING = {
    "depth_resolution": 5,
    "depth_resolution_importance": 4,
    "ray_start": 2.3,
    "ray_end": 3.2,
    "box_warp": 1.1,
    "avg_camera_radius": 2.7,
    "avg_camera_pivot": [0, 0, 0.2],
    "superresolution_noise_mode": "none",
    "clamp_mode": "softplus",
    "c_scale": 1,
    "c_gen_conditioning_zero": False,
    "decoder_lr_mul": 1,
    "sr_antialias": True,
    "superresolution_module": "training.superresolution.SuperresolutionHybrid8XDC",
    "white_back": False,
}


def tiny(**changes) -> TriPlaneConfig:
    sizes = {
        "z_size": 6,
        "backbone": SynthesisConfig((8, 7, 6), 12, 8, None),
        "hidden": 5,
        "rays": RayConfig(2.3, 3.2, 2.7, 5, 4),
        "box": 1.1,
        "raw_size": 8,
        "upsampler": (5, 4),
        "upsampler_clamp": 256.0,
    }
    return TriPlaneConfig(**(sizes | changes))


def attributes(rendering: dict, network: TriPlaneGenerator) -> dict:
    clamped = {name: {"conv_clamp": 256} for name, _ in network.named_modules() if name.startswith("superresolution.")}
    top = {"z_dim": 6, "neural_rendering_resolution": 8, "rendering_kwargs": rendering}
    return {"": top, "backbone.synthesis.b4.conv1": {"conv_clamp": None}, **clamped}


def made(config: TriPlaneConfig) -> TriPlaneGenerator:
    torch.manual_seed(0)
    network = TriPlaneGenerator(config).eval()
    for tensor in network.state_dict().values():
        tensor.add_(0.1 * torch.randn_like(tensor))
    return network


def picture(network: TriPlaneGenerator) -> torch.Tensor:
    rotation = look_at_rotation(np.array([20.0]), np.array([5.0]))
    camera = [
        torch.as_tensor(v, dtype=torch.float32) for v in (rotation, sphere_translation(rotation), intrinsics(1.0))
    ]
    rng = np.random.default_rng(3)
    z, c = (torch.as_tensor(rng.standard_normal((1, n)), dtype=torch.float32) for n in (6, 25))
    with torch.no_grad():
        return network(z, c, camera[0], camera[1], camera[2][None], truncation=0.7).image


@pytest.fixture
def eg3d(tmp_path):
    network = made(tiny())
    tree = nested(network.state_dict(), attributes(RENDERING, network), kind="TriPlaneGenerator")
    return write(tmp_path / "ffhq.pkl", {"G": None, "G_ema": tree}), network


def test_eg3d_files_give_the_pictures_of_their_network(eg3d, tmp_path):
    path, network = eg3d
    loaded = load_generator(path)
    assert loaded.config == network.config
    assert torch.equal(picture(loaded), picture(network))
    converted = convert(open_checkpoint(path), tmp_path / "ffhq.safetensors")
    assert torch.equal(picture(load_generator(converted)), picture(network))


def panohead() -> TriPlaneConfig:
    return tiny(
        axes="panohead",
        backbone=SynthesisConfig((8, 7), 27, 8, None),
        grid_depth=3,
        upsampler=(5, 4),
        background=SynthesisConfig((4, 4), 3, 8),
        own_rgb=True,
        look_at=(0.0, 0.0, 0.0),
        decoder_activation="none",
        crop=0.1,
    )


PANOHEAD = {**RENDERING, "triplane_depth": 3, "avg_camera_pivot": [0, 0, 0], "decoder_activation": "none"}


@pytest.mark.parametrize(("behind", "rgb"), [("bcg_synthesis", "torgb"), ("background", "decoder.torgb")])
def test_panohead_is_told_by_its_background(tmp_path, behind, rgb):
    """Its files hold a second mapping, of a camera's shift, which plays no part in pictures."""
    config = panohead()
    network = made(config)
    renamed = {"t_mapping.embed.weight": torch.ones(3, 25), "t_mapping.w_avg": torch.ones(3)}
    for name, tensor in network.state_dict().items():
        for ours, theirs in (("background.", f"{behind}."), ("torgb.", f"{rgb}.")):
            if name.startswith(ours):
                name = theirs + name.removeprefix(ours)
        renamed[name] = tensor
    tree = with_planes(nested(renamed, attributes(PANOHEAD, network)), [X, Y, Z], [X, Z, Y], [Y, Z, X])
    path = write(tmp_path / "head.pkl", {"G_ema": tree})
    loaded = load_generator(path)
    assert loaded.config == config and torch.equal(picture(loaded), picture(network))


X, Y, Z = torch.eye(3).tolist()


def with_planes(tree, *planes):
    """The renderer beside the networks, with the planes that it was saved with."""
    renderer = _Persistent("ImportanceRenderer", state_of({}, {"plane_axes": torch.tensor(planes)}, {}))
    tree.meta["state"]["_modules"]["renderer"] = renderer
    return tree


def test_planes_that_the_file_names_are_compared(tmp_path):
    """EG3D's slip is in its files; successors that mended it have other planes and are not taken for it."""
    network = made(tiny())
    slip, mended = ([X, Y, Z], [X, Z, Y], [Z, X, Y]), ([X, Y, Z], [X, Z, Y], [Z, Y, X])
    for planes, fine in ((slip, True), (mended, False)):
        tree = with_planes(nested(network.state_dict(), attributes(RENDERING, network)), *planes)
        path = write(tmp_path / "x.pkl", {"G_ema": tree})
        converted = convert(open_checkpoint(path), tmp_path / "x.safetensors")
        for file in (path, converted):
            if fine:
                assert torch.equal(picture(load_generator(file)), picture(network))
                continue
            with pytest.raises(ValueError, match=r"expected plane_axes of eg3d, .*found .*\[0.0, 1.0, 0.0\]"):
                load_generator(file)


def test_the_decoders_rate_counts_its_weights(tmp_path):
    """Weights are stored divided by it."""
    network = made(tiny())
    state = {
        name: tensor / 0.5 if name.startswith("decoder.net.") else tensor
        for name, tensor in network.state_dict().items()
    }
    tree = nested(state, attributes(RENDERING | {"decoder_lr_mul": 0.5}, network))
    assert torch.equal(picture(load_generator(write(tmp_path / "x.pkl", {"G_ema": tree}))), picture(network))


@pytest.mark.parametrize("change", [{"c_gen_conditioning_zero": True}, {"c_scale": 0}, {"c_scale": None}])
def test_mappings_without_a_condition_do_not_see_the_camera(tmp_path, change):
    """`c_scale` None: not among the settings, which the released code reads as 0."""
    network = made(tiny())
    rendering = {name: value for name, value in (RENDERING | change).items() if value is not None}
    path = write(tmp_path / "x.pkl", {"G_ema": nested(network.state_dict(), attributes(rendering, network))})
    z, c = torch.randn(1, 6), torch.randn(1, 25)
    loaded = load_generator(path)
    assert torch.equal(loaded.styles(z, c), network.styles(z, 0 * c))
    assert not torch.equal(loaded.styles(z, c), network.styles(z, c))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder_activation": "tanh"}, "expected decoder_activation = 'sigmoid', found 'tanh'"),
        ({"decoder_lr_mul": 0}, "expected decoder_lr_mul above 0, found 0"),
        ({"sr_antialias": False}, "expected sr_antialias = True, found False"),
        (
            {"superresolution_module": "training.superresolution.SuperresolutionHybrid4X"},
            "expected superresolution_module = 'SuperresolutionHybrid8XDC', found .*4X",
        ),
        ({"white_back": True}, "expected white_back = False, found True"),
        ({"clamp_mode": "relu"}, "expected clamp_mode = 'softplus', found 'relu'"),
        ({"ray_start": "auto"}, "none that fit"),
    ],
)
def test_settings_that_are_not_implemented_are_refused(tmp_path, change, message):
    network = made(tiny())
    tree = nested(network.state_dict(), attributes(RENDERING | change, network))
    with pytest.raises(ValueError, match=rf"x\.pkl: .*{message}"):
        load_generator(write(tmp_path / "x.pkl", {"G_ema": tree}))


def test_other_networks_are_named(tmp_path):
    network = made(tiny())
    state = network.state_dict()
    state["encoder.weight"] = torch.zeros(2)
    path = write(tmp_path / "x.pkl", {"G_ema": nested(state, attributes(RENDERING, network))})
    with pytest.raises(ValueError, match=r"x\.pkl: expected the \d+ tensors .*unknown: encoder\.weight"):
        load_generator(path)
    del state["encoder.weight"], state["decoder.net.0.weight"]
    path = write(tmp_path / "x.pkl", {"G_ema": nested(state, attributes(RENDERING, network))})
    with pytest.raises(ValueError, match=r"x\.pkl: expected EG3D's or PanoHead's tensors.*decoder\.net\.0\.weight"):
        load_generator(path)
    path = write(tmp_path / "x.pkl", {"G": nested(state, {})})
    with pytest.raises(ValueError, match=r"x\.pkl: expected tensors G_ema\.backbone"):
        load_generator(path)


def test_a_seed_is_a_face_from_any_camera(eg3d):
    """The same whatever was rendered before, and alone or among others; the conditioning pose is the front's."""
    path, _ = eg3d
    generator = GanGenerator(path)
    assert isinstance(generator, Generator) and generator.landmarks(3) is None
    rotations = look_at_rotation(np.array([-30.0, 0.0, 30.0]), 0.0)
    translations = sphere_translation(rotations)
    three = generator.render(3, rotations, translations, 24)
    for seed in range(4):
        generator.render(seed, rotations[:1], translations[:1], 24)
    again = GanGenerator(path).render(3, rotations[2:], translations[2:], 24)[0]
    assert np.array_equal(three[2].image, again.image) and three[2].image.shape == (24, 24, 3)
    assert not np.array_equal(three[0].image, three[2].image)
    assert three[1].points is None and three[1].coverage.shape == (24, 24)
    assert not np.array_equal(generator.render(4, rotations, translations, 24)[0].image, three[0].image)
    front = look_at_rotation(0.0, 0.0)
    expected = label_of(front, sphere_translation(front), intrinsics(1.0))
    np.testing.assert_allclose(generator.condition[0].numpy(), expected, atol=1e-6)
    assert front_label((0.0, 0.0, 0.0))[:16].tolist() == pytest.approx(
        [1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 2.7, 0, 0, 0, 1], abs=1e-6
    )  # formats.md: frontal = diag(1, -1, -1), t = (0, 0, 2.7)
