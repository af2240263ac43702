"""The README's examples are run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_examples_run_one_after_another(tmp_path: Path, photograph: Path) -> None:
    from PIL import Image

    Image.open(photograph).save(tmp_path / "photo.jpg")
    examples = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    assert len(examples) == 2
    outputs = []
    for example in examples:
        run = subprocess.run(
            [sys.executable, "-c", example],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        outputs.append(run.stdout.strip())
    assert 0 <= int(outputs[0]) < 1000
    assert outputs[1] == "(1, 1000)"
    statements = [line for line in examples[0].splitlines() if line.strip()]
    assert len(statements) == 5
