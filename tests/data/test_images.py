"""Images of every kind of source, decoded and refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from mlexpert.data.encode import encode_images
from mlexpert.data.image_stats import describe_images
from mlexpert.data.images import ArrowColumn, Images
from mlexpert.data.pixels import flatten_alpha, to_channels
from mlexpert.errors import InputError

RNG = np.random.default_rng(0)
COLOR = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "CMYK", "YCbCr", "LA", "RGBA"])
def test_modes_become_what_pillow_converts_them_to(mode):
    image = Image.fromarray(COLOR).convert(mode)
    expected = image.convert("L" if mode in ("L", "1", "LA") else "RGB")  # opaque: alpha is 255
    array = Images.from_items([image]).decode(0)
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array.squeeze(), np.asarray(expected))
    assert array.shape == Images.from_items([image]).shape(0)


def test_transparency_is_laid_on_white():
    clear = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
    half = Image.new("RGBA", (2, 2), (0, 100, 255, 128))
    white = Image.new("RGBA", (2, 2), (255, 255, 255, 255))
    images = Images.from_items([clear, half])
    assert (images.decode(0) == 255).all()
    expected = np.asarray(Image.alpha_composite(white, half).convert("RGB")).astype(int)
    assert np.abs(images.decode(1).astype(int) - expected).max() <= 1
    np.testing.assert_array_equal(images.decode(1), flatten_alpha(np.asarray(half)))


def test_palette_with_a_transparent_entry_is_decoded_without_a_warning():
    image = Image.new("P", (2, 1), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.putpixel((0, 0), 0)
    data = encoded(image, transparency=0)
    array = Images.from_items([data]).decode(0)
    np.testing.assert_array_equal(array, [[[255, 255, 255], [200, 10, 10]]])


def test_sixteen_bit_grey_is_scaled_to_eight():
    values = np.array([[0, 257, 65_535, 128, 129]], dtype=np.uint16)
    data = encoded(Image.fromarray(values))
    images = Images.from_items([data])
    np.testing.assert_array_equal(images.decode(0)[..., 0], [[0, 1, 255, 0, 1]])
    assert images.shape(0) == (1, 5, 1)


@pytest.mark.parametrize(
    ("brightest", "advice"), [(255, "2 grey .* 8-bit images"), (4095, "17 grey .* multiply .* 16")]
)
def test_sixteen_bit_images_that_use_few_of_them_are_refused(brightest: int, advice: str):
    """Scaled to 8 bits they would be nearly black, and nothing would say so."""
    values = np.linspace(0, brightest, 12).astype(np.uint16).reshape(3, 4)
    images = Images.from_items([encoded(Image.fromarray(values))])
    with pytest.raises(InputError, match=f"up to {brightest} of 65535.*{advice}"):
        describe_images(images)


def test_float_images_must_lie_in_the_unit_interval():
    good = Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))
    np.testing.assert_array_equal(Images.from_items([good]).decode(0)[..., 0], [[0, 128, 255]])
    with pytest.raises(InputError, match=r"row 1 cannot be decoded .*divide by 255"):
        bright = Image.fromarray(np.array([[0.0, 200.0]], dtype=np.float32))
        Images.from_items([good, bright]).decode(1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    image = Image.fromarray(COLOR)
    exif = image.getexif()
    exif[0x0112] = orientation
    data = encoded(image, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    images = Images.from_items([data])
    assert images.shape(0) == expected.shape
    np.testing.assert_array_equal(images.decode(0), expected)


def test_a_broken_exif_block_does_not_matter():
    data = encoded(Image.fromarray(COLOR), exif=b"Exif\x00\x00MM\x00*garbage")
    np.testing.assert_array_equal(Images.from_items([data]).decode(0), COLOR)


@pytest.mark.parametrize(
    ("shape", "channels_first", "expected"),
    [
        ((5, 9, 7), False, (9, 7, 1)),
        ((5, 9, 7, 3), False, (9, 7, 3)),
        ((5, 3, 9, 7), False, (9, 7, 3)),
        ((5, 1, 9, 7), False, (9, 7, 1)),
        ((5, 3, 9, 3), True, (9, 3, 3)),
        ((5, 3, 9, 3), False, (3, 9, 3)),
        ((5, 9, 7, 4), False, (9, 7, 3)),
    ],
)
def test_stacks_of_either_layout(shape, channels_first, expected):
    images = Images.from_array(np.zeros(shape, np.uint8), channels_first=channels_first)
    assert len(images) == 5
    assert images.shape(0) == images.decode(0).shape == expected


def test_a_stack_is_not_copied_and_a_selection_of_a_selection_is_right():
    stack = RNG.integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    images = Images.from_array(stack)
    assert np.shares_memory(images.stack(), stack)
    chosen = images[np.array([5, 3, 1])][np.array([2, 0])]
    np.testing.assert_array_equal(chosen.stack(), stack[[1, 5]])
    np.testing.assert_array_equal(chosen.decode(1), stack[5])
    mask = np.array([True, False, False, True, False, False])
    np.testing.assert_array_equal(images[mask].stack(), stack[mask])
    np.testing.assert_array_equal(images[np.array([-1, 0])].stack(), stack[[-1, 0]])
    with pytest.raises(IndexError):
        images[np.array([6])]


def test_items_of_every_sort_are_the_same_image(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(COLOR).save(path)
    items = [path, str(path), path.read_bytes(), Image.fromarray(COLOR), Image.open(path), COLOR,
             {"bytes": path.read_bytes(), "path": None}, {"bytes": None, "path": str(path)},
             np.moveaxis(COLOR, 2, 0), COLOR / 255.0]  # fmt: skip
    images = Images.from_items(items)
    for i in range(len(items)):
        assert images.shape(i) == COLOR.shape
        np.testing.assert_array_equal(images.decode(i), COLOR)
    assert images.stack() is None
    assert not images.is_float


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((2, 4, 4), np.nan, np.float32), "32 pixel value"),
        (np.full((2, 4, 4), 2.0, np.float32), "divide by 255"),
        (np.full((2, 4, 4), -1.0, np.float32), "normalisation"),
        (np.full((2, 4, 4), 256), "0..255"),
        (np.zeros((2, 4, 4), complex), "complex"),
        (np.zeros((2, 6, 6, 5), np.uint8), "no axis of 1, 3 or 4 channels"),
        (np.zeros((2, 4), np.uint8), "not a stack of images"),
        (np.zeros((2, 0, 4), np.uint8), "not a stack of images"),
    ],
)
def test_stacks_that_are_no_images_are_refused(array, message):
    with pytest.raises(InputError, match=message):
        Images.from_array(array)


def test_integers_and_booleans_are_taken_as_pixels():
    assert Images.from_array(np.full((1, 2, 2), 255, np.int64)).stack().dtype == np.uint8
    assert Images.from_array(np.ones((1, 2, 2), bool)).stack().max() == 255


def damaged(form: str) -> bytes:
    data = encoded(Image.fromarray(RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)), form)
    return data[: len(data) // 2]


@pytest.mark.parametrize("data", [damaged("PNG"), damaged("JPEG"), damaged("WEBP"), b"", b"text"])
def test_corrupt_files_are_found_and_named(tmp_path, data):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.fromarray(COLOR).save(good)
    bad.write_bytes(data)
    images = Images.from_items([good, bad])
    assert images.corrupt() == [1]
    with pytest.raises(InputError, match=r"bad\.png.*row 1"):
        images.decode(1)
    with pytest.raises(InputError, match="row 0"):
        Images.from_items([data]).decode(0)


def test_intact_files_of_every_format_pass(tmp_path):
    paths: list[Path] = []
    for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"):
        paths.append(tmp_path / f"a.{form.lower()}")
        Image.fromarray(COLOR).save(paths[-1], form)
    images = Images.from_items(paths)
    assert images.corrupt() == []
    assert [images.decode(i).shape for i in range(len(paths))] == [COLOR.shape] * len(paths)


def test_small_images_are_decoded_once(monkeypatch):
    images = Images.from_items([encoded(Image.fromarray(COLOR))])
    first = images.decode(0)
    assert images[np.array([0])].decode(0) is first
    monkeypatch.setattr("mlexpert.data.images.CACHE_BYTES", 0)
    images = Images.from_items([encoded(Image.fromarray(COLOR))])
    assert images.decode(0) is not images.decode(0)


def test_an_arrow_column_is_read_by_row():
    import pyarrow as pa

    data = encoded(Image.fromarray(COLOR))
    rows = [{"bytes": data, "path": None}, {"bytes": data, "path": "x/y.png"}]
    images = Images.from_items(ArrowColumn(pa.chunked_array([pa.array(rows)])))
    np.testing.assert_array_equal(images[np.array([1])].decode(0), COLOR)
    assert images.name(1) == "image 'x/y.png' (row 1)"
    assert images.name(0) == "image in row 0"


def test_luma_is_that_of_pillow():
    every = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(every).convert("L"))
    np.testing.assert_array_equal(to_channels(every, 1)[..., 0], expected)
    floats = to_channels((every / 255.0).astype(np.float32), 1)[..., 0] * 255.0
    assert np.abs(floats - expected).max() < 0.6


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Image.new("RGB", (0, 4)), "0 x 4 pixels, which is nothing"),
        (b"P5 3 0 255\n", "cannot be decoded"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\) is no image"),
        (np.zeros(4, np.uint8), r"shape \(4,\) is no image"),
    ],
)
def test_images_without_pixels_are_refused_by_row(item, message):
    images = Images.from_items([COLOR, item])
    for look in (images.decode, images.shape):
        with pytest.raises(InputError, match=f"image in row 1.*{message}"):
            look(1)
    if not isinstance(item, np.ndarray):
        assert images.corrupt() == [1]


def frames(form: str, count: int) -> bytes:
    first, *others = [Image.fromarray(np.full((5, 6, 3), 40 * i, np.uint8)) for i in range(count)]
    more = {"save_all": True, "append_images": others} if others else {}
    return encoded(first, form, **more)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animated_image_the_first_frame_is_taken_and_said_once(form):
    still = Images.from_items([frames(form, 1)])
    images = Images.from_items([frames(form, 1), frames(form, 3), frames(form, 2)])
    assert images.corrupt() == []
    images.decode(0)
    with pytest.warns(UserWarning, match="row 1 is animated or has several pages"):
        found = images.decode(1)
    np.testing.assert_array_equal(found, still.decode(0))
    np.testing.assert_array_equal(images.decode(2), still.decode(0))


def test_an_image_of_one_pixel_is_enlarged():
    images = Images.from_items([Image.new("L", (1, 1), 77), Image.new("RGB", (1, 1), (9, 8, 7))])
    found = encode_images(images, size=(8, 8), channels=3)
    assert (found[0] == 77).all()
    assert (found[1] == torch.tensor([9, 8, 7]).view(3, 1, 1)).all()


def test_a_mixed_set_is_encoded_to_one_shape(tmp_path):
    """Sizes, modes, depths, orientation and containers, as they meet in one folder."""
    rotated = Image.fromarray(COLOR)
    exif = rotated.getexif()
    exif[0x0112] = 6
    path = tmp_path / "rotated.jpg"
    rotated.save(path, exif=exif, quality=95)
    grey = Image.fromarray(COLOR[..., 0])
    items = [
        path,
        Image.fromarray(COLOR).convert("CMYK"),
        grey.convert("1"),
        Image.fromarray(COLOR[..., 0].astype(np.uint16) * 257),
        encoded(Image.fromarray((COLOR[..., 0] / 255).astype(np.float32)), "TIFF"),
        {"bytes": encoded(Image.fromarray(COLOR).convert("P")), "path": None},
        Image.fromarray(COLOR).convert("PA"),
        grey.convert("LA").resize((30, 40)),
        COLOR[..., :1],
        np.moveaxis(COLOR, 2, 0) / 255.0,
    ]
    images = Images.from_items(items)
    encoded_images = encode_images(images, size=(9, 7), channels=3)
    assert encoded_images.shape == (len(items), 3, 9, 7)
    expected = torch.from_numpy(COLOR).permute(2, 0, 1)
    for i in (3, 4, 8):  # grey, without loss
        assert torch.equal(encoded_images[i], expected[:1].expand(3, -1, -1))
    assert torch.equal(encoded_images[9], expected)
    assert images.shape(0) == (7, 9, 3)  # stands upright
