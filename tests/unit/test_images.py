"""Which images are meant by files, folders and standard input."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tvm_mobilenet.errors import ImageError
from tvm_mobilenet.runtime.images import find_images


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.png", "deep/er/c.webp", ".git/d.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "photos/deep/loop").symlink_to(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*given: str, stdin: bytes | None = None) -> list[str]:
    return [source.name for source in find_images(given, stdin)]


def test_folders_are_taken_with_those_inside(folder: Path) -> None:
    inside = ["photos/a.png", "photos/b.JPG", "photos/deep/er/c.webp"]
    assert names("photos") == inside
    # A file that was named is taken whatever it is called; it may be missing.
    assert names("x.dat", "photos", "photos/notes.txt") == ["x.dat", *inside, "photos/notes.txt"]


def test_standard_input_lists_files(folder: Path) -> None:
    assert names("-", stdin=b"one.jpg\r\n\n two.jpg \nphotos/deep\n") == [
        "one.jpg",
        "two.jpg",
        "photos/deep/er/c.webp",
    ]


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0", b"GIF89a\x01\0\x01\0", b"BM\0\0"])
def test_standard_input_may_be_an_image(content: bytes) -> None:
    (source,) = find_images(["-"], content)
    assert source == ("-", content)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"-\n"])
def test_standard_input_without_any(content: bytes) -> None:
    with pytest.raises(ImageError, match="neither an image nor names"):
        find_images(["-"], content)


def test_a_folder_without_any(folder: Path) -> None:
    os.mkdir("empty")
    with pytest.raises(ImageError, match="no image in the folder 'empty'"):
        find_images(["empty"])
