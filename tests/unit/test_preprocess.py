"""Images of every kind into the tensor that a model takes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tvm_mobilenet.errors import ImageError
from tvm_mobilenet.runtime.preprocess import class_names, load_image, top
from tvm_mobilenet.runtime.recipe import default_preprocess

PLAIN = {"resize": 8, "crop": 8, "mean": [0, 0, 0], "std": [1, 1, 1], "channels": "RGB"}


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def rgb(x: np.ndarray) -> list[int]:
    """The colour of an image that has one colour only."""
    assert np.ptp(x, axis=(2, 3)).max() == 0
    return [round(float(v) * 255) for v in x[0, :, 0, 0]]


@pytest.mark.parametrize("resolution", [224, 192, 128, 97])
@pytest.mark.parametrize("size", [(300, 500), (500, 300), (64, 64), (3, 900)])
def test_the_shape_is_the_models(resolution: int, size: tuple[int, int]) -> None:
    x = load_image(encoded(Image.new("RGB", size)), default_preprocess(resolution))
    assert x.shape == (1, 3, resolution, resolution)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous


def test_the_defaults_are_imagenets() -> None:
    assert default_preprocess(224)["resize"] == 256
    grey = load_image(
        encoded(Image.new("RGB", (300, 300), (128, 128, 128))), default_preprocess(32)
    )
    expected = (128 / 255 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(grey[0, :, 5, 5], expected, rtol=1e-5)


def test_the_middle_is_cut_out() -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 20:60] = 255
    x = load_image(encoded(Image.fromarray(pixels)), {**PLAIN, "resize": 40, "crop": 40})
    assert x.min() == 1.0


def test_bgr_reverses_the_channels() -> None:
    content = encoded(Image.new("RGB", (9, 9), (10, 20, 30)))
    assert rgb(load_image(content, {**PLAIN, "channels": "BGR"})) == [30, 20, 10]


def test_a_photograph_is_turned_upright() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4] = 255  # white at the top
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    x = load_image(encoded(Image.fromarray(pixels), "PNG", exif=exif), PLAIN)
    assert (x[0, 0, 0, 0], x[0, 0, -1, 0]) == (0, 1)


@pytest.mark.parametrize(
    ("image", "form", "colour"),
    [
        (Image.new("L", (9, 9), 100), "PNG", [100, 100, 100]),
        (Image.new("1", (9, 9), 1), "PNG", [255, 255, 255]),
        (Image.new("P", (9, 9), 0), "GIF", [0, 0, 0]),
        (Image.new("RGBA", (9, 9), (10, 20, 30, 255)), "PNG", [10, 20, 30]),
        (Image.new("RGBA", (9, 9), (10, 20, 30, 0)), "PNG", [255, 255, 255]),
        (Image.new("LA", (9, 9), (50, 255)), "PNG", [50, 50, 50]),
        (Image.new("CMYK", (9, 9), (0, 255, 255, 0)), "TIFF", [255, 0, 0]),
        (Image.fromarray(np.full((9, 9), 257 * 80, np.uint16)), "PNG", [80, 80, 80]),
        (Image.fromarray(np.full((9, 9), 0.2, np.float32)), "TIFF", [51, 51, 51]),
        (Image.fromarray(np.full((9, 9), 257 * 80, np.int32)), "TIFF", [80, 80, 80]),
    ],
    ids=["grey", "bilevel", "palette", "opaque", "clear", "LA", "cmyk", "16bit", "float", "32bit"],
)
def test_every_mode_becomes_rgb(image: Image.Image, form: str, colour: list[int]) -> None:
    assert rgb(load_image(encoded(image, form), PLAIN)) == colour


def test_a_file_is_read(tmp_path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(Image.new("RGB", (20, 20), (1, 2, 3))))
    assert rgb(load_image(path, PLAIN)) == [1, 2, 3]
    assert rgb(load_image(str(path), PLAIN)) == [1, 2, 3]


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0junk"])
def test_what_is_no_image_is_refused(content: bytes, tmp_path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    for source in (path, content):
        with pytest.raises(ImageError, match="cannot be read as an image"):
            load_image(source, PLAIN)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_cut_off_image_is_refused(form: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), form)
    with pytest.raises(ImageError):
        load_image(content[: len(content) // 2], PLAIN)


def test_missing_and_folder_are_refused(tmp_path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        load_image(tmp_path / "absent.jpg", PLAIN)
    with pytest.raises(ImageError, match="Is a directory"):
        load_image(tmp_path, PLAIN)


def test_a_decompression_bomb_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ImageError, match="too large"):
        load_image(encoded(Image.new("RGB", (20, 20))), PLAIN)


def test_class_names(monkeypatch) -> None:
    assert class_names(3) == ["class 0", "class 1", "class 2"]
    names = class_names(1000)
    if names is not None:
        assert len(names) == 1000
        assert names[967] == "espresso"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert class_names(1000) is None


def test_top_is_sorted_and_named() -> None:
    p = np.array([0.1, 0.5, 0.4], np.float32)
    assert [name for name, _ in top(p, 2)] == ["class 1", "class 2"]
    assert top(p, 5, ["a", "b", "c"])[0] == ("b", pytest.approx(0.5))
