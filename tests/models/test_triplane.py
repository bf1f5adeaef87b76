"""EG3D and PanoHead layer by layer against references that are nothing but loops over the formulas, in float64."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from facelift.geometry import intrinsics, look_at_rotation, project, sphere_translation
from facelift.models import triplane
from facelift.models.stylegan2 import (
    FIR,
    FullyConnected,
    Mapping,
    Synthesis,
    SynthesisConfig,
    SynthesisLayer,
    ToRGB,
    activated,
    filtered,
    fir_kernel,
    modulated_conv,
    upsampled,
)
from facelift.models.triplane import Decoder, TriPlaneConfig, TriPlaneGenerator
from facelift.models.volume import (
    AXES,
    RayConfig,
    Rays,
    composite,
    even_depths,
    importance_depths,
    interval_weights,
    ray_ends,
    rays_of,
    sample_planes,
)

SMALL = TriPlaneConfig(
    z_size=6,
    mapping_layers=2,
    backbone=SynthesisConfig(widths=(6, 5, 4), channels=12, w_size=8),
    hidden=5,
    rays=RayConfig(coarse=6, fine=5),
    raw_size=4,
    upsampler_input=8,
    upsampler=(5, 4),
    upsampler_clamp=256.0,
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def pad_at(x, i, j):
    return x[i, j] if 0 <= i < x.shape[0] and 0 <= j < x.shape[1] else 0.0


def slow_conv(x, w):
    """Correlation with zeros beyond the border: (i, h, w), (o, i, k, k) -> (o, h, w)."""
    o, c, k, _ = w.shape
    out = np.zeros((o, *x.shape[1:]))
    for a in range(o):
        for i in range(x.shape[1]):
            for j in range(x.shape[2]):
                for b in range(c):
                    for p in range(k):
                        for q in range(k):
                            out[a, i, j] += w[a, b, p, q] * pad_at(x[b], i + p - k // 2, j + q - k // 2)
    return out


def slow_up_conv(x, w):
    """Zeros between pixels, true convolution by w, then the FIR filter with gain 4; cropped to twice the side."""
    o, c, k, _ = w.shape
    side = x.shape[1]
    wide = np.zeros((o, 2 * side + 1, 2 * side + 1))
    for a in range(o):
        for b in range(c):
            for i in range(side):
                for j in range(side):
                    for p in range(k):
                        for q in range(k):
                            wide[a, 2 * i + p, 2 * j + q] += x[b, i, j] * w[a, b, p, q]
    return slow_fir(wide, gain=4.0, before=1, length=2 * side)


def slow_fir(x, *, gain, before, length):
    taps = np.array(FIR) / sum(FIR)
    out = np.zeros((len(x), length, length))
    for a in range(len(x)):
        for i in range(length):
            for j in range(length):
                for p in range(4):
                    for q in range(4):
                        out[a, i, j] += gain * taps[p] * taps[q] * pad_at(x[a], i + p - before, j + q - before)
    return out


def slow_styles(weight, styles, demodulate):
    """Karras et al. 2020, Eq. 1 and 3, on the weights."""
    w = weight * styles[None, :, None, None]
    if demodulate:
        for a in range(len(w)):
            w[a] /= math.sqrt((w[a] ** 2).sum() + 1e-8)
    return w


def array(tensor):
    return tensor.detach().double().numpy()


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("up", [True, False])
def test_modulated_convolution(up, demodulate):
    x, weight, styles = (torch.randn(*s, dtype=torch.float64) for s in ((2, 3, 4, 4), (5, 3, 3, 3), (2, 3)))
    kernel = fir_kernel().double() if up else None
    found = modulated_conv(x, weight, styles, demodulate=demodulate, up=kernel)
    for sample in range(2):
        w = slow_styles(array(weight), array(styles)[sample], demodulate)
        expected = (slow_up_conv if up else slow_conv)(array(x)[sample], w)
        np.testing.assert_allclose(array(found[sample]), expected, atol=1e-10)


def test_resampling_of_pictures():
    x = torch.randn(1, 2, 3, 3, dtype=torch.float64)
    wide = np.zeros((2, 6, 6))
    wide[:, ::2, ::2] = array(x)[0]
    expected = slow_fir(wide, gain=4.0, before=2, length=6)
    np.testing.assert_allclose(array(upsampled(x, fir_kernel().double()))[0], expected, atol=1e-12)
    flat = upsampled(torch.ones(1, 1, 8, 8), fir_kernel())  # a filter of sum 1: a flat picture stays flat inside
    assert torch.allclose(flat[..., 2:-2, 2:-2], torch.ones(1))
    assert filtered(torch.ones(1, 1, 4, 4), fir_kernel(), (2, 1)).shape == (1, 1, 4, 4)


def slow_dense(layer: FullyConnected, x, rate=1.0):
    weight, bias = array(layer.weight), array(layer.bias)
    y = np.zeros(len(weight))
    for o in range(len(weight)):
        y[o] = bias[o] * rate + sum(weight[o, i] * rate / math.sqrt(len(x)) * x[i] for i in range(len(x)))
    return y


def slow_lrelu(x, clamp=None):
    y = np.where(x > 0, x, 0.2 * x) * math.sqrt(2)
    return y if clamp is None else np.clip(y, -clamp, clamp)


def slow_norm(x):
    return x / math.sqrt((x**2).mean() + 1e-8)


def test_mapping_and_truncation():
    mapping = Mapping(4, 3, 5, 7).double()
    mapping.w_avg.normal_()
    for parameter in mapping.parameters():
        parameter.data.normal_()
    z, c = torch.randn(1, 4, dtype=torch.float64), torch.randn(1, 3, dtype=torch.float64)
    x = np.concatenate([slow_norm(array(z)[0]), slow_norm(slow_dense(mapping.embed, array(c)[0]))])
    for layer in (mapping.fc0, mapping.fc1):
        x = slow_lrelu(slow_dense(layer, x, rate=0.01))
    found = mapping(z, c)
    assert found.shape == (1, 7, 5)
    np.testing.assert_allclose(array(found)[0], np.tile(x, (7, 1)), atol=1e-12)
    mean = array(mapping.w_avg)
    np.testing.assert_allclose(array(mapping(z, c, truncation=0.3))[0, 0], mean + 0.3 * (x - mean), atol=1e-12)
    np.testing.assert_allclose(array(mapping(z, c, truncation=0.0))[0, 3], mean, atol=1e-12)


def test_activation_is_cut_off():
    assert activated(torch.tensor([300.0, -2000.0, 1.0]), 256.0).tolist() == pytest.approx([256, -256, math.sqrt(2)])


def slow_layer(layer: SynthesisLayer, x, w, *, noise=True):
    styles = slow_dense(layer.affine, w)
    convolve = slow_up_conv if layer.up else slow_conv
    y = convolve(x, slow_styles(array(layer.weight), styles, True))
    if noise:
        y += array(layer.noise_const) * float(layer.noise_strength)
    return slow_lrelu(y + array(layer.bias)[:, None, None], layer.clamp)


def slow_rgb(layer: ToRGB, x, w):
    styles = slow_dense(layer.affine, w) / math.sqrt(x.shape[0])
    return slow_conv(x, slow_styles(array(layer.weight), styles, False)) + array(layer.bias)[:, None, None]


def slow_block(block, x, image, w, clamp, *, noise=True):
    """Two convolutions and what they add to the picture of half the side; `w`: three styles."""
    x = slow_layer(block.conv1, slow_layer(block.conv0, x, w[0], noise=noise), w[1], noise=noise)
    wide = np.zeros((len(image), 2 * image.shape[1], 2 * image.shape[1]))
    wide[:, ::2, ::2] = image
    image = slow_fir(wide, gain=4.0, before=2, length=wide.shape[1])
    return x, image + np.clip(slow_rgb(block.torgb, x, w[2]), -clamp, clamp)


def slow_synthesis(net, w, clamp):
    x = slow_layer(net.b4.conv1, array(net.b4.const), w[0])
    image = np.clip(slow_rgb(net.b4.torgb, x, w[1]), -clamp, clamp)
    for block, at in ((net.b8, 1), (net.b16, 3)):
        x, image = slow_block(block, x, image, w[at : at + 3], clamp)
    return image


def test_synthesis():
    """Skip architecture, constant noise; block b's styles begin where those of its predecessor's output did."""
    config = SynthesisConfig(widths=(4, 3, 3), channels=2, w_size=5, clamp=2.5)
    net = Synthesis(config).double()
    for parameter in net.parameters():
        parameter.data.normal_()
    ws = torch.randn(1, config.w_count, 5, dtype=torch.float64)
    np.testing.assert_allclose(array(net(ws))[0], slow_synthesis(net, array(ws)[0], 2.5), atol=1e-9)
    assert not torch.allclose(net(ws), net(ws, noise="none"))


def slow_cell(plane, u, v):
    """Bilinear: cell (row i, column j) has its centre at ((2 j + 1) / w - 1, (2 i + 1) / h - 1); zero beyond."""
    h, w = plane.shape
    x, y = ((u + 1) * w - 1) / 2, ((v + 1) * h - 1) / 2
    i, j = math.floor(y), math.floor(x)
    total = 0.0
    for a in (0, 1):
        for b in (0, 1):
            share = (1 - abs(y - (i + a))) * (1 - abs(x - (j + b)))
            total += share * pad_at(plane, i + a, j + b)
    return total


@pytest.mark.parametrize(("family", "columns"), [("eg3d", ("xy", "xz", "zx")), ("panohead", ("xy", "xz", "yz"))])
def test_planes_have_the_axes_of_their_family(family, columns):
    planes = torch.randn(1, 3, 2, 1, 4, 4, dtype=torch.float64)
    points = torch.rand(1, 9, 3, dtype=torch.float64) * 1.2 - 0.6
    found = array(sample_planes(planes, points, AXES[family], 1.0))[0]
    for n, point in enumerate(array(points)[0] * 2):
        place = dict(zip("xyz", point, strict=True))
        for plane, (column, row) in enumerate(columns):
            for c in range(2):
                expected = slow_cell(array(planes)[0, plane, c, 0], place[column], place[row])
                assert found[n, plane, c] == pytest.approx(expected, abs=1e-12)


def test_tri_grids_are_trilinear():
    """Three cells across: the third axis of each plane, x y z -> z, y, x."""
    planes = torch.randn(1, 3, 1, 3, 4, 4, dtype=torch.float64)
    points = torch.rand(1, 12, 3, dtype=torch.float64) - 0.5
    found = array(sample_planes(planes, points, AXES["panohead"], 1.0))[0, :, :, 0]
    for n, point in enumerate(array(points)[0] * 2):
        for plane, (column, row, across) in enumerate(((0, 1, 2), (0, 2, 1), (1, 2, 0))):
            depth = ((point[across] + 1) * 3 - 1) / 2
            expected = 0.0
            for k in range(3):
                share = max(0.0, 1 - abs(depth - k))
                expected += share * slow_cell(array(planes)[0, plane, 0, k], point[column], point[row])
            assert found[n, plane] == pytest.approx(expected, abs=1e-12)


def test_grid_channels_are_features_of_cells():
    """PanoHead's backbone gives 3 x features x cells channels, cells fastest."""
    config = TriPlaneConfig(backbone=SynthesisConfig(widths=(4,), channels=18, w_size=4), grid_depth=3, z_size=4)
    net = TriPlaneGenerator(config)
    ws = torch.randn(1, 2, 4)
    made = net.backbone.synthesis(ws)
    assert torch.equal(net.planes(ws)[0, 1, 1, 2], made[0, 6 + 3 + 2])


def test_compositing():
    depths = torch.tensor([[[1.0, 1.5, 2.5, 3.0]]], dtype=torch.float64)
    density, colours = torch.randn(1, 1, 4, dtype=torch.float64) * 3, torch.rand(1, 1, 4, 2, dtype=torch.float64)
    light, expected, total, far = 1.0, np.zeros(2), 0.0, 0.0
    for k in range(3):
        d = (float(density[0, 0, k]) + float(density[0, 0, k + 1])) / 2
        step = float(depths[0, 0, k + 1] - depths[0, 0, k])
        alpha = 1 - math.exp(-math.log1p(math.exp(d - 1)) * step)
        expected += light * alpha * array(colours[0, 0, k] + colours[0, 0, k + 1]) / 2
        far += light * alpha * float(depths[0, 0, k] + depths[0, 0, k + 1]) / 2
        total += light * alpha
        light *= 1 - alpha
    found = composite(depths, colours, density)
    np.testing.assert_allclose(array(found.features)[0, 0], expected, atol=1e-9)
    assert float(found.weight) == pytest.approx(total) and float(found.depth) == pytest.approx(far / total)
    nothing = composite(depths, colours, torch.full_like(density, -1e4))
    assert float(nothing.weight) == 0 and float(nothing.depth) == 3.0


def test_importance_samples_follow_the_weights():
    """Against the distribution function by loops; and all in the one interval that weighs, but for its neighbours'
    smoothing and the floor."""
    depths = torch.sort(torch.rand(1, 1, 7, dtype=torch.float64)).values
    weights = torch.rand(1, 1, 6, dtype=torch.float64)
    w = array(weights)[0, 0]
    wide = [max(w[max(k - 1, 0)], w[min(k, 5)]) for k in range(7)]
    smooth = np.array([(wide[k] + wide[k + 1]) / 2 for k in range(6)]) + 0.01
    edges = np.concatenate([[0], np.cumsum(smooth) / smooth.sum()])
    expected = np.interp((np.arange(8) + 0.5) / 8, edges, array(depths)[0, 0])
    np.testing.assert_allclose(array(importance_depths(depths, weights, 8))[0, 0], expected, atol=1e-12)
    even, one = torch.linspace(0, 1, 101, dtype=torch.float64)[None, None], torch.zeros(1, 1, 100, dtype=torch.float64)
    one[..., 50] = 1.0
    found = importance_depths(even, one, 200)
    assert 0.4 < ((found > 0.49) & (found < 0.52)).double().mean() < 0.8  # 2 of 3 shares, the floor of 1 in 3


def test_rays_go_through_the_pixels_that_projection_finds():
    rotation = look_at_rotation(np.array([25.0, -60.0]), np.array([10.0, -20.0]), 5.0)
    translation = sphere_translation(rotation) + np.array([0.02, -0.03, 0.4])
    R, t = torch.as_tensor(rotation), torch.as_tensor(translation)
    rays = rays_of(R, t, torch.as_tensor(intrinsics(1.0)).expand(2, -1, -1), 8)
    points = rays.origins + 2.9 * rays.directions
    found = project(points.numpy(), rotation, translation, intrinsics(8.0))
    expected = np.stack(np.meshgrid(np.arange(8) + 0.5, np.arange(8) + 0.5), -1).reshape(64, 2)
    np.testing.assert_allclose(found, np.stack([expected] * 2), atol=1e-9)
    near, far = ray_ends(rays, RayConfig())
    away = np.linalg.norm(np.einsum("bji,bj->bi", rotation, translation), axis=-1)
    np.testing.assert_allclose(array(near[:, 0]), 2.25 + away - 2.7)
    np.testing.assert_allclose(
        array(even_depths(near, far, 3)[0, 0]), array(near[0, 0]) + 1.05 * np.array([1, 3, 5]) / 6
    )


def slow_decoder(decoder, sampled):
    """(3 planes, c) -> density, the first output, and features: a squashed sigmoid of the others."""
    mean = np.array([(sampled[0, c] + sampled[1, c] + sampled[2, c]) / 3 for c in range(sampled.shape[1])])
    hidden = np.array([math.log1p(math.exp(h)) for h in slow_dense(decoder.net[0], mean)])
    density, *others = slow_dense(decoder.net[2], hidden)
    return density, np.array([1.002 / (1 + math.exp(-x)) - 0.001 for x in others])


def slow_field(net, planes, point):
    x, y, z = point * 2 / net.config.box
    places = ((x, y), (x, z), (z, x))  # EG3D's
    sampled = [[slow_cell(cell[0], u, v) for cell in plane] for plane, (u, v) in zip(planes, places, strict=True)]
    return slow_decoder(net.decoder, np.array(sampled))


def slow_weights(samples):
    """Of the intervals between (depth, density, features) in order."""
    light, weights = 1.0, []
    for (near, d, _), (far, e, _) in pairwise(samples):
        alpha = 1 - math.exp(-math.log1p(math.exp((d + e) / 2 - 1)) * (far - near))
        weights.append(light * alpha)
        light *= 1 - alpha
    return weights


def slow_ray(net, planes, origin, direction):
    """(features, weight, depth) of a ray: coarse samples, fine ones by their distribution, both in order."""
    config = net.config.rays
    moved = math.sqrt((origin**2).sum()) - config.radius
    near, far = config.near + moved, config.far + moved
    depths = [near + (far - near) * (k + 0.5) / config.coarse for k in range(config.coarse)]
    coarse = [(d, *slow_field(net, planes, origin + d * direction)) for d in depths]
    w = slow_weights(coarse)
    wide = [max(w[max(k - 1, 0)], w[min(k, len(w) - 1)]) for k in range(len(w) + 1)]
    smooth = [(a + b) / 2 + 0.01 for a, b in pairwise(wide)]
    edges = [sum(smooth[:k]) / sum(smooth) for k in range(len(smooth) + 1)]
    fine = [float(np.interp((k + 0.5) / config.fine, edges, depths)) for k in range(config.fine)]
    samples = sorted(coarse + [(d, *slow_field(net, planes, origin + d * direction)) for d in fine], key=lambda s: s[0])
    w = slow_weights(samples)
    features = sum(v * (a[2] + b[2]) / 2 for v, (a, b) in zip(w, pairwise(samples), strict=True))
    depth = sum(v * (a[0] + b[0]) / 2 for v, (a, b) in zip(w, pairwise(samples), strict=True))
    return features, sum(w), depth / sum(w)


def slow_resized(x, side):
    """Triangles about the output pixels' centres, as wide as the coarser of both grids."""
    scale = x.shape[1] / side
    shares = np.zeros((side, x.shape[1]))
    for i in range(side):
        for j in range(x.shape[1]):
            shares[i, j] = max(0.0, 1 - abs(j + 0.5 - scale * (i + 0.5)) / max(scale, 1))
        shares[i] /= sum(shares[i])
    return np.stack([shares @ channel @ shares.T for channel in x])


def slow_superresolution(module, raw, features, w):
    """`w`: the last style, for all layers; no noise."""
    if raw.shape[1] != module.side:
        raw, features = slow_resized(raw, module.side), slow_resized(features, module.side)
    for block in (module.block0, module.block1):
        features, raw = slow_block(block, features, raw, [w, w, w], 256.0, noise=False)
    return raw


def full(config=SMALL):
    """A network with every number drawn, and styles that differ from layer to layer."""
    net = TriPlaneGenerator(config).double().eval()
    for tensor in [*net.parameters(), *(b for name, b in net.named_buffers() if "noise" in name)]:
        tensor.data.normal_()
    return net, torch.randn(1, config.backbone.w_count, 8, dtype=torch.float64)


@pytest.mark.parametrize("raw", [4, 8, 12])
def test_superresolution(raw):
    """Of a smaller picture, one of its size and a larger one, which it shrinks without aliasing."""
    net, ws = full()
    image, features = (torch.randn(1, c, raw, raw, dtype=torch.float64) for c in (3, 4))
    expected = slow_superresolution(net.superresolution, array(image)[0], array(features)[0], array(ws)[0, -1])
    np.testing.assert_allclose(array(net.superresolution(image, features, ws))[0], expected, atol=1e-8)


def slow_picture(net, ws, R, t, K):
    """(picture, raw picture, depth, mask) from nothing but the formulas; the camera stands at -R^T t."""
    w, side = array(ws)[0], net.config.raw_size
    planes = slow_synthesis(net.backbone.synthesis, w, np.inf).reshape(3, 4, 1, 16, 16)
    R, t, K = (array(part)[0] for part in (R, t, K))
    features, depth, mask = np.zeros((4, side, side)), np.zeros((1, side, side)), np.zeros((1, side, side))
    for i in range(side):
        for j in range(side):
            seen = np.array([((j + 0.5) / side - K[0, 2]) / K[0, 0], ((i + 0.5) / side - K[1, 2]) / K[1, 1], 1.0])
            direction = R.T @ seen / np.linalg.norm(seen)
            values, mask[0, i, j], depth[0, i, j] = slow_ray(net, planes, -R.T @ t, direction)
            features[:, i, j] = 2 * values - 1
    return slow_superresolution(net.superresolution, features[:3], features, w[-1]), features[:3], depth, mask


def test_whole_pictures():
    net, ws = full()
    R, t, K = cameras(20.0)
    t = t + torch.tensor([0.02, -0.03, 0.15])
    for found, expected in zip(net.look(ws, net.planes(ws), R, t, K), slow_picture(net, ws, R, t, K), strict=True):
        np.testing.assert_allclose(array(found)[0], expected, rtol=1e-7, atol=1e-8)


def decoded(order):
    """A decoder with another order of its outputs, or another mean."""

    def forward(self, sampled):
        x = self.net(sampled.sum(2) if order == "sum" else sampled.mean(2))
        density, features = (x[..., -1], x[..., :-1]) if order == "last" else (x[..., 0], x[..., 1:])
        return torch.sigmoid(features) * 1.002 - 0.001, density

    return forward


def as_they_come(self, _dim):
    return self, torch.arange(self.shape[-1]).expand(self.shape)


@pytest.mark.parametrize(
    ("owner", "name", "wrong"),
    [
        (Decoder, "forward", decoded("last")),
        (Decoder, "forward", decoded("sum")),
        (torch.Tensor, "sort", as_they_come),
        (triplane, "resized", lambda x, side: torch.nn.functional.interpolate(x, size=(side, side), mode="nearest")),
    ],
)
def test_mistakes_would_be_seen(monkeypatch, owner, name, wrong):
    """Density from the last output, a sum over planes, samples of both passes not merged, another resampling."""
    net, ws = full()
    camera = cameras(20.0)
    expected = slow_picture(net, ws, *camera)[0]
    monkeypatch.setattr(owner, name, wrong)
    found = array(net.look(ws, net.planes(ws), *camera).image)[0]
    assert np.abs(found - expected).max() > 1e-3 * np.abs(expected).max()


def test_cameras_of_one_face_share_its_planes():
    """Many at once as one at a time, the first face's first, whatever the number of rays in memory."""
    config = TriPlaneConfig(**{**vars(SMALL), "background": SynthesisConfig((4, 4), 4, 8)})
    net, _ = full(config)
    ws = torch.randn(2, config.backbone.w_count, 8, dtype=torch.float64)
    planes, (R, t, K) = net.planes(ws), cameras(20.0, -40.0, 0.0, 70.0, 5.0, -5.0)
    together = net.look(ws, planes, R, t, K, at_once=7)
    for index in range(6):
        face, one = slice(index // 3, index // 3 + 1), slice(index, index + 1)
        for found, expected in zip(together, net.look(ws[face], planes[face], R[one], t[one], K[one]), strict=True):
            torch.testing.assert_close(found[one], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("activation", "squash"), [("none", lambda x: x), ("lrelu", slow_lrelu)])
def test_panohead_decodes_without_a_sigmoid(activation, squash):
    """Then features are not brought from 0..1 to -1..1 behind the rays either."""
    net, ws = full(TriPlaneConfig(**{**vars(SMALL), "decoder_activation": activation}))
    sampled = torch.randn(1, 2, 3, 4, dtype=torch.float64)
    features, density = net.decoder(sampled)
    hidden = np.log1p(np.exp(slow_dense(net.decoder.net[0], array(sampled)[0, 1].mean(0))))
    expected = slow_dense(net.decoder.net[2], hidden)
    np.testing.assert_allclose(array(features)[0, 1], squash(expected[1:]), atol=1e-12)
    assert float(density[0, 1]) == pytest.approx(expected[0])
    net.field = lambda planes, points: (
        points.new_full((1, points.shape[1], 4), 0.25),
        points.new_full((1, points.shape[1]), 1e4),
    )
    torch.testing.assert_close(net.look(ws, net.planes(ws), *cameras(0.0)).raw, torch.full((1, 3, 4, 4), 0.25).double())
    with pytest.raises(ValueError, match="decoder_activation: expected one of sigmoid, lrelu, none, found 'tanh'"):
        TriPlaneConfig(decoder_activation="tanh")


def test_nothing_is_seen_near_the_sides_of_a_cropped_box():
    """Density everywhere, box of 1, crop 0.1: a front ray meets it at z = 0.4, and beside x = 0.4 it meets nothing;
    above y = 0.4 it does."""
    net, _ = full(TriPlaneConfig(**{**vars(SMALL), "crop": 0.1, "rays": RayConfig(coarse=400, fine=1)}))
    net.field = lambda planes, points: (
        points.new_zeros((1, points.shape[1], 4)),
        points.new_full((1, points.shape[1]), 1e4),
    )
    origins = torch.tensor([[[0.0, 0.0, 2.7], [0.39, 0, 2.7], [0.41, 0, 2.7], [-0.41, 0, 2.7], [0, 0.45, 2.7]]])
    rays = Rays(origins.double(), torch.tensor([0.0, 0.0, -1.0]).double().expand(1, 5, 3))
    seen = net.march(torch.zeros(1, 3, 4, 1, 2, 2).double(), rays)
    assert seen.weight[0].tolist() == pytest.approx([1, 1, 0, 0, 1], abs=1e-6)
    assert seen.depth[0, 0].item() == pytest.approx(2.3, abs=0.005)
    with pytest.raises(ValueError, match=r"crop: expected 0 to less than half the box of 1\.0, found 0\.5"):
        TriPlaneConfig(crop=0.5)


def cameras(*azimuths):
    rotation = look_at_rotation(np.array(azimuths, float), 0.0)
    R, t = torch.as_tensor(rotation), torch.as_tensor(sphere_translation(rotation))
    return R, t, torch.as_tensor(intrinsics(1.0)).expand(len(R), -1, -1)


def test_turning_the_camera_is_turning_the_field():
    """For any rigid Q: the picture of the field x -> f(Q^T x) by the camera (R Q^T, t) is the one of f by (R, t)."""
    net = TriPlaneGenerator(SMALL).double().eval()
    ws = net.styles(torch.randn(1, 6, dtype=torch.float64), torch.randn(1, 25, dtype=torch.float64))
    planes, (R, t, K) = net.planes(ws), cameras(20.0)
    straight = net.look(ws, planes, R, t, K)
    turn = torch.as_tensor(look_at_rotation(35.0, 20.0, 15.0))
    field = net.field
    net.field = lambda planes, points: field(planes, points @ turn)
    turned = net.look(ws, planes, R @ turn.mT, t, K)
    net.field = field
    for found, expected in zip(turned, straight, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert (net.look(ws, planes, R @ turn.mT, t, K).raw - straight.raw).abs().max() > 1e-4


def test_pictures_are_of_one_face_and_repeat():
    net = TriPlaneGenerator(SMALL).eval()
    ws = net.styles(torch.randn(1, 6), torch.randn(1, 25))
    planes, (R, t, K) = net.planes(ws), (part.float() for part in cameras(20.0))
    first, second = net.look(ws, planes, R, t, K), net.look(ws, planes, R, t, K, at_once=5)
    assert first.image.shape == (1, 3, 32, 32) and first.raw.shape == (1, 3, 4, 4)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    assert 2.2 < first.depth.min() < first.depth.max() < 3.4


def test_background_lies_behind_the_field():
    config = TriPlaneConfig(**{**vars(SMALL), "background": SynthesisConfig((4, 4), 4, 8), "own_rgb": True})
    net = TriPlaneGenerator(config).eval()
    ws = net.styles(torch.randn(1, 6), torch.randn(1, 25))
    camera = tuple(part.float() for part in cameras(0.0))
    net.field = lambda planes, points: (torch.full((*points.shape[:2], 4), 0.25), torch.full(points.shape[:2], -1e4))
    empty = net.look(ws, net.planes(ws), *camera)
    behind = torch.nn.functional.interpolate(net.background(ws[:, :4]), size=(4, 4), mode="bilinear", antialias=True)
    torch.testing.assert_close(empty.raw, net.torgb(behind - 1, ws[:, -1]))  # an empty field is black, -1
    assert empty.mask.max() == 0
    net.field = lambda planes, points: (torch.full((*points.shape[:2], 4), 0.25), torch.full(points.shape[:2], 1e4))
    solid = net.look(ws, net.planes(ws), *camera)
    torch.testing.assert_close(solid.raw, net.torgb(torch.full((1, 4, 4, 4), -0.5), ws[:, -1]))
    assert solid.mask.min() > 0.999


def test_whole_pictures_learn():
    """Gradients reach every parameter, by finite differences of the loss along a random direction."""
    net = TriPlaneGenerator(SMALL).double()
    z, c, (R, t, K) = torch.randn(1, 6).double(), torch.randn(1, 25).double(), cameras(10.0)
    target = torch.randn(1, 3, 32, 32).double()
    parameters = [p for p in net.parameters()]
    importance = torch.linspace(2.3, 3.2, 5).double().expand(1, 16, 5)

    def loss():
        ws = net.styles(z, c)
        return ((net.look(ws, net.planes(ws), R, t, K).image - target) ** 2).sum()

    from facelift.models import triplane

    kept, triplane.importance_depths = triplane.importance_depths, lambda *_: importance  # no step of a sort within
    try:
        found = torch.autograd.grad(loss(), parameters, allow_unused=True)
        gradients = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
        along = [torch.randn_like(p) for p in parameters]
        slope = sum((g * a).sum() for g, a in zip(gradients, along, strict=True))
        values = []
        for sign in (1, -1):
            for p, a in zip(parameters, along, strict=True):
                p.data += sign * 1e-6 * a
            values.append(float(loss()))
            for p, a in zip(parameters, along, strict=True):
                p.data -= sign * 1e-6 * a
    finally:
        triplane.importance_depths = kept
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(float(slope), rel=1e-4)
    dead = {name for (name, _), g in zip(net.named_parameters(), gradients, strict=True) if not g.abs().sum()}
    assert all(name.startswith("superresolution") and "noise_strength" in name for name in dead)  # its noise is off


def test_interval_weights_leave_no_more_than_all_light():
    weights = interval_weights(torch.linspace(2, 3, 9).expand(1, 4, 9), torch.randn(1, 4, 9) * 20)
    assert weights.min() >= 0 and weights.sum(-1).max() <= 1 + 1e-6
