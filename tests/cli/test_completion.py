"""Shell completion: what Tab offers, in bash and zsh, and how soon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Run = Callable[..., "CompletedProcess[str]"]


def offered(run: Run, *words: str) -> list[str]:
    """What bash is offered for the last word."""
    shown = run(
        _TVM_MOBILENET_COMPLETE="complete_bash",
        COMP_WORDS=" ".join(["tvm-mobilenet", *words]),
        COMP_CWORD=str(len(words)),
    )
    assert shown.stderr == ""
    return shown.stdout.splitlines()


def test_commands(run: Run) -> None:
    assert {"compile", "doctor", "verify", "device"} <= set(offered(run, ""))
    assert offered(run, "do") == ["doctor"]
    assert set(offered(run, "device", "")) == {"check", "serve", "tracker"}


def test_models_and_files(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.onnx").touch()
    Path("notes.txt").touch()
    Path("nets").mkdir()
    assert {"v1", "v2", "v3-large", "v3-small"} <= set(offered(run, "compile", ""))
    assert offered(run, "compile", "v3-") == ["v3-large", "v3-small"]
    assert offered(run, "compile", "mnas") == [
        "mnasnet-a1",
        "mnasnet-b1",
        "mnasnet_a1",
        "mnasnet_b1",
    ]
    assert offered(run, "compile", "ne") == ["net.onnx", "nets/"]


def test_targets(run: Run) -> None:
    assert {"rpi4", "rpi5"} <= set(offered(run, "compile", "v1", "--target", "rp"))
    assert "sm_90" in offered(run, "compile", "v1", "--target", "sm_")


@pytest.mark.parametrize("option", ["--install-completion", "--show-completion"])
def test_help_names_them(run: Run, option: str) -> None:
    assert option in run("--help").stdout
