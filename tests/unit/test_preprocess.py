"""Images of every kind into the tensor that a model takes."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from tvm_mobilenet.errors import ImageError, PreprocessError, VerificationError
from tvm_mobilenet.runtime.preprocess import class_names, guesses, load_image
from tvm_mobilenet.runtime.recipe import INTERPOLATIONS, RECIPES, default_preprocess, preprocess_for

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


def test_a_program_that_draws_is_not_run(monkeypatch) -> None:
    content = encoded(Image.new("RGB", (9, 9)), "EPS")
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_: pytest.fail("was run"))
    with pytest.raises(ImageError, match="PostScript"):
        load_image(content, PLAIN)


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


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_refused(value: float, tmp_path) -> None:
    pixels = np.full((9, 9), 0.5, np.float32)
    path = tmp_path / "depth.tiff"
    Image.fromarray(pixels).save(path)
    assert rgb(load_image(path, PLAIN)) == [128, 128, 128]
    pixels[2, 3] = pixels[8, 8] = value
    Image.fromarray(pixels).save(path)
    with pytest.raises(ImageError, match=r"depth.tiff holds 2 pixels of 81 that are NaN or inf"):
        load_image(path, PLAIN)


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


@pytest.mark.parametrize("scores", [[0.5, np.nan], [1.0, np.inf], [-np.inf, -np.inf]])
def test_there_is_no_likeliest_class_of_no_numbers(scores: list[float]) -> None:
    with pytest.raises(VerificationError, match="no class is the likeliest"):
        guesses(np.array(scores, np.float32), 1)
    assert guesses(np.array([-np.inf, 2.0]), 1)[0].index == 1


def test_guesses_are_sorted_and_named() -> None:
    p = np.array([0.1, 0.5, 0.4], np.float32)
    assert [(guess.index, guess.name) for guess in guesses(p, 2)] == [
        (1, "class 1"),
        (2, "class 2"),
    ]
    (best, *_) = guesses(p, 5, ["a", "b", "c"])
    assert (best.name, best.unnamed) == ("b", False)
    assert best.probability == pytest.approx(0.5)


@pytest.mark.parametrize("scores", [[1.0, 3.0, -1.0], [800.0, 802.0, 798.0], [5.0, 7.0, 3.0]])
def test_scores_without_a_softmax_become_probabilities(scores: list[float]) -> None:
    found = guesses(np.array(scores, np.float32), 3)
    assert [guess.index for guess in found] == [1, 0, 2]
    assert sum(guess.probability for guess in found) == pytest.approx(1)
    assert found[0].probability / found[1].probability == pytest.approx(np.exp(2), rel=1e-5)


def test_classes_with_a_background() -> None:
    names = class_names(1001)
    assert names is not None
    assert (names[0], names[968], len(names)) == ("background", "espresso", 1001)


@pytest.mark.parametrize("size", [(640, 427), (427, 640), (500, 375), (333, 500), (257, 256)])
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (232, 224), (146, 128)])
def test_resize_and_crop_are_torchvisions(size: tuple[int, int], resize: int, crop: int) -> None:
    """Against the formulas of torchvision 0.24, transforms/functional.py, on Pillow images."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))
    short, long = min(size), max(size)
    sides = (resize, int(resize * long / short))
    width, height = sides if size[0] <= size[1] else sides[::-1]
    top, left = round((height - crop) / 2.0), round((width - crop) / 2.0)
    scaled = image.resize((width, height), Image.Resampling.BILINEAR)
    expected = np.asarray(scaled.crop((left, top, left + crop, top + crop)))
    recipe = {**PLAIN, "resize": resize, "crop": crop}
    found = load_image(encoded(image), recipe)
    np.testing.assert_allclose(found[0].transpose(1, 2, 0) * 255, expected, atol=1e-3)


def test_an_animation_is_its_first_frame() -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert rgb(load_image(content, PLAIN)) == [255, 0, 0]


def test_the_whole_image_is_squeezed_where_nothing_is_cut() -> None:
    pixels = np.zeros((20, 80, 3), np.uint8)
    pixels[:, 40:] = 200
    x = load_image(encoded(Image.fromarray(pixels)), preprocess_for(32, "none"))
    assert (x[0, 0, 5, 0], x[0, 0, 5, -1]) == (0, 200)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_by_name(name: str) -> None:
    recipe = preprocess_for(160, name)
    assert recipe["crop"] == 160
    assert recipe["resize"] == (None if name == "none" else 183)
    white = load_image(encoded(Image.new("RGB", (200, 200), "white")), recipe)
    assert white.max() == pytest.approx({"torchvision": 2.64, "tf": 1.0, "none": 255.0}[name])


def test_what_is_given_wins_over_what_the_weights_say(tmp_path) -> None:
    known = {"mean": [0.1] * 3, "crop_fraction": 0.5, "interpolation": "bicubic"}
    assert preprocess_for(100, None, known)["resize"] == 200
    assert preprocess_for(100, "torchvision", known)["mean"][0] == 0.485
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps({"resize": 120, "channels": "BGR", "std": [1, 2, 3]}))
    recipe = preprocess_for(100, file, known)
    assert recipe == {
        **preprocess_for(100), "resize": 120, "channels": "BGR", "std": [1, 2, 3]
    }  # fmt: skip
    assert preprocess_for(100, recipe) == recipe


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_every_interpolation(interpolation: str) -> None:
    content = encoded(Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)))
    x = load_image(content, preprocess_for(32, {"interpolation": interpolation}))
    expected = Image.open(io.BytesIO(content)).resize(
        (37, 37), Image.Resampling[interpolation.upper()]
    )
    pixels = np.asarray(expected.crop((2, 2, 34, 34)), np.float32)[..., 0]
    np.testing.assert_allclose(x[0, 0] * 0.229 + 0.485, pixels / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"means": [0, 0, 0]}, "unknown keys: means"),
        ({"mean": [0, 0]}, "mean must be three numbers"),
        ({"mean": ["a", 0, 0]}, "mean must be three numbers"),
        ({"std": [0, 1, 1]}, "std must be three numbers above 0"),
        ({"crop": 200}, "crop must be the model's 224"),
        ({"resize": 100}, "resize must be null or from 224"),
        ({"resize": 224 * 64 + 1}, "resize must be null or from 224 to 64 times that"),
        ({"crop_fraction": 0}, "crop_fraction must be"),
        ({"crop_fraction": 5e-324}, "crop_fraction must be"),
        ({"crop": 224.0}, "crop must be the model's 224"),
        ({"std": [1e-300, 1, 1]}, "std must be three numbers above 0"),
        ({"scale": 1e-300}, "scale must be"),
        ({"interpolation": "area"}, "interpolation must be one of"),
        ({"channels": "GRB"}, "channels must be RGB or BGR"),
        ({"scale": True}, "scale must be"),
    ],
)
def test_recipes_that_make_no_sense(recipe: dict[str, object], message: str, tmp_path) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(recipe))
    for given in (recipe, file):
        with pytest.raises(PreprocessError, match=message):
            preprocess_for(224, given)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is no JSON"), ("[" * 100_000, "is no JSON"), ("[1]", "no JSON object")],
    ids=["open", "deep", "list"],
)
def test_a_recipe_that_is_none(content: str, message: str, tmp_path) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(PreprocessError, match=message):
        preprocess_for(224, tmp_path / "r.json")
    with pytest.raises(PreprocessError, match="use torchvision, tf, none"):
        preprocess_for(224, "pytorch")
