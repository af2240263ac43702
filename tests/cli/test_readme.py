"""The README's examples are run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_two_commands_stand_side_by_side() -> None:
    """With what each takes; the targets are the Makefile's."""
    text = README.read_text().partition("## Two commands")[2]
    block = re.search(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert block
    commands = dict(
        re.findall(r"^(make \w+) +# .*?(\d+ minutes, \d+ MB .*?[\d.]+ GB)", block[1], re.MULTILINE)
    )
    assert list(commands) == ["make demo", "make test"]
    assert len(block[1].splitlines()) == 2
    targets = re.findall(r"^(\w+):.*##", (README.parent / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test"} <= set(targets)


def test_commands_and_files_that_are_named_exist() -> None:
    from tvm_mobilenet.cli.app import command_line

    text = README.read_text()
    commands = set(re.findall(r"^tvm-mobilenet (?:--stack relay )?([a-z]+)", text, re.MULTILINE))
    assert {"compile", "run", "doctor", "device"} <= commands
    assert commands <= set(command_line().commands)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    files = re.findall(r"\]\(([\w./-]+)\)", prose)
    assert "LICENSE" in files
    assert [name for name in files if not (README.parent / name).exists()] == []
    extras = set(re.findall(r"(?<!-runtime)\[([a-z]+)\]'", text))
    assert {"cuda", "opencl", "pretrained", "tune"} <= extras
    declared = (README.parent / "pyproject.toml").read_text()
    assert [extra for extra in extras if f"\n{extra} = [" not in declared] == []


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
            timeout=600,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        outputs.append(run.stdout.strip())
    assert 0 <= int(outputs[0]) < 1000
    assert outputs[1] == "(1, 1000)"
    statements = [line for line in examples[0].splitlines() if line.strip()]
    assert len(statements) == 5
