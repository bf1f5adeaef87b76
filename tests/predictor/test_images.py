"""Every kind of picture comes out upright, RGB and 8 bit, and everything else is told for what it is."""

import io
import os
import resource

import numpy as np
import pytest
from PIL import Image, ImageOps

from facelift.images import load_photo


@pytest.fixture
def picture(rng) -> np.ndarray:
    """Smooth, not symmetric, 30 x 20."""
    y, x = np.mgrid[:20, :30]
    return np.stack([x * 8, y * 12, (x + y) * 5], -1).astype(np.uint8)


def save(path, array, mode=None, **options):
    Image.fromarray(array, mode).save(path, **options) if mode else Image.fromarray(array).save(path, **options)
    return path


def png_bytes(image: Image.Image, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def test_one_picture_by_every_way_in(tmp_path, picture):
    path = save(tmp_path / "fotografía 写真 ü.png", picture)
    sources = [path, str(path), path.read_bytes(), Image.open(path), picture, picture / 255, picture.astype("u2") * 257]
    for source in sources:
        photo = load_photo(source)
        np.testing.assert_array_equal(photo.pixels, picture)
        assert photo.scale == 1 and photo.original_wh == (30, 20)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, picture, orientation):
    """Against Pillow's own exif_transpose."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "turned.png", picture, exif=exif)
    photo = load_photo(path)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(photo.pixels, expected)
    assert photo.original_wh == expected.shape[1::-1]


def test_nonsense_orientation_is_upright(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 77
    np.testing.assert_array_equal(load_photo(save(tmp_path / "x.png", picture, exif=exif)).pixels, picture)


def test_sixteen_bit_grey(tmp_path):
    values = np.array([[0, 128, 257 * 100, 65535]], np.uint16)
    photo = load_photo(save(tmp_path / "deep.png", values))
    np.testing.assert_array_equal(photo.pixels[0, :, 1], [0, 0, 100, 255])


def test_alpha_lies_on_white():
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51]]], np.uint8)
    expected = [[[255, 0, 0], [255, 255, 255], [204, 204, 204]]]
    np.testing.assert_array_equal(load_photo(rgba).pixels, expected)
    np.testing.assert_array_equal(load_photo(png_bytes(Image.fromarray(rgba))).pixels, expected)
    grey_alpha = np.array([[[100, 255], [100, 0]]], np.uint8)
    np.testing.assert_array_equal(load_photo(grey_alpha).pixels[0, :, 0], [100, 255])
    np.testing.assert_array_equal(load_photo(png_bytes(Image.fromarray(grey_alpha))).pixels[0, :, 0], [100, 255])


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "F", "I;16", "RGBA", "LA", "PA", "HSV", "LAB"])
def test_modes_give_rgb_bytes(mode):
    image = Image.new("RGB", (5, 4), (90, 90, 90))
    if mode in ("I;16", "F"):
        image = Image.fromarray(np.full((4, 5), 90 * 257, "u2") if mode == "I;16" else np.full((4, 5), 90.0, "f4"))
    elif mode == "LAB":
        image = Image.new("LAB", (5, 4), (97, 128, 128))
    else:
        image = image.quantize(4) if mode in ("P", "PA") else image
        image = image.convert(mode)
    pixels = load_photo(image).pixels
    assert pixels.shape == (4, 5, 3) and pixels.dtype == np.uint8
    middle = pixels[1:3, 1:4].astype(int)
    assert mode == "1" or (np.abs(middle - 90) <= 12).all(), middle[0, 0]


def test_one_pixel():
    photo = load_photo(np.full((1, 1), 7, np.uint8))
    assert photo.pixels.tolist() == [[[7, 7, 7]]]


@pytest.mark.parametrize("size", [(20000, 200), (200, 20001)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_long_pictures_shrink_and_keep_their_pixels(tmp_path, size, kind):
    """An edge in the original is where scale says, whatever shrank the picture."""
    image = Image.new("L", size, 30)
    axis = int(size[1] > size[0])
    edge = 10240
    box = (edge, 0, *size) if axis == 0 else (0, edge, *size)
    image.paste(220, box)
    path = tmp_path / f"long.{kind.lower()}"
    image.save(path)
    photo = load_photo(path)
    assert max(photo.pixels.shape) <= 4096 and photo.original_wh == size
    assert max(photo.pixels.shape) * photo.scale >= 20000
    line = photo.pixels[..., 0].astype(float)
    line = line[line.shape[0] // 2] if axis == 0 else line[:, line.shape[1] // 2]
    assert np.argmax(line > 125) * photo.scale == edge


@pytest.mark.slow
def test_huge_picture_needs_bounded_memory(tmp_path):
    """20,000 x 20,000 pixels of one bit: decoding takes a byte a pixel, and nothing else of that size is made."""
    path = tmp_path / "huge.png"
    Image.new("1", (20000, 20000), 1).save(path, compress_level=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    photo = load_photo(path)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert photo.pixels.shape == (4000, 4000, 3) and photo.scale == 5 and (photo.pixels == 255).all()
    assert grown < 700e6


def test_larger_than_the_limit_is_refused(tmp_path, monkeypatch, picture):
    monkeypatch.setattr("facelift.images.MAX_PIXELS", 500)
    with pytest.raises(ValueError, match="30 x 20"):
        load_photo(save(tmp_path / "big.png", picture))


def test_pillows_limit_is_put_back(tmp_path, picture):
    before = Image.MAX_IMAGE_PIXELS
    load_photo(save(tmp_path / "x.png", picture))
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"this is no picture", "text"),
        (bytes(range(128, 200)), "unknown bytes"),
        (b"%PDF-1.4 ....", "PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
    ],
)
def test_files_that_are_no_picture(tmp_path, content, message):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        load_photo(path)
    assert str(path) in str(error.value) and "expected" in str(error.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_truncated(tmp_path, rng, kind, share):
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(stream, kind)
    content = stream.getvalue()
    path = tmp_path / f"cut.{kind.lower()}"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match="expected"):
        load_photo(path)


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "webp", "tif", "bmp", "jp2", "avif", "tga", "ico", "ppm"])
def test_changed_bytes_give_a_picture_or_a_clear_error(tmp_path, rng, kind):
    path = tmp_path / f"mutated.{kind}"
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(60):
        content = whole.copy()
        content[rng.integers(0, min(len(whole), 200), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(content.tobytes())
        try:
            photo = load_photo(path)
        except ValueError as error:
            assert path.name in str(error)
        else:
            assert photo.pixels.dtype == np.uint8 and photo.pixels.ndim == 3


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing under this name"):
        load_photo(tmp_path / "none.jpg")
    with pytest.raises(ValueError, match="found a folder"):
        load_photo(tmp_path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 5), np.uint8), r"\(h, w, 1 to 4 channels\)"),
        (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
        (np.full((4, 4, 3), 255.0), r"floats in 0..1, found 255..255"),
        (np.full((4, 4), np.nan), "found nan"),
        (np.zeros((4, 4), np.int64), "found int64"),
        (np.zeros(4, np.uint8), "1 to 4 channels"),
    ],
)
def test_arrays_that_are_no_picture(array, message):
    with pytest.raises(ValueError, match=message):
        load_photo(array)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file(tmp_path, picture):
    path = save(tmp_path / "secret.png", picture)
    path.chmod(0)
    with pytest.raises(PermissionError):
        load_photo(path)
