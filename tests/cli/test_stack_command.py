"""``--stack``: the same command in the environment of the classic stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tvm_mobilenet.runtime.artifact import read_manifest, write_manifest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """What `make relay` makes, as far as the command line looks: an interpreter that answers."""
    interpreter = tmp_path / "relay" / "bin" / "python"
    interpreter.parent.mkdir(parents=True)
    interpreter.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\nexit 7\n')
    interpreter.chmod(0o755)
    return tmp_path / "relay"


def test_the_command_goes_on_in_the_other_environment(run: Run, environment: Path) -> None:
    line = ("--stack", "relay", "compile", "v1", "-o", "two words.so")
    done = run(*line, TVM_MOBILENET_RELAY=str(environment))
    assert done.stdout.splitlines() == ["-m", "tvm_mobilenet", *line]
    assert done.returncode == 7


def test_without_that_environment_it_says_how_to_make_it(run: Run, tmp_path: Path) -> None:
    done = run("--stack", "relay", "models", TVM_MOBILENET_RELAY=str(tmp_path))
    assert done.returncode == 2
    assert "make relay" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_stack_of_this_environment_changes_nothing(run: Run) -> None:
    assert run("--stack", "relax", "models").stdout == run("models").stdout


def test_a_stack_that_is_none_is_refused(run: Run) -> None:
    done = run("--stack", "tflite", "models")
    assert done.returncode == 2
    assert "known: relax, relay" in done.stderr


def test_an_artifact_of_the_other_stack_says_what_it_needs(
    run: Run, artifact: Path, tmp_path: Path
) -> None:
    other = tmp_path / "classic.so"
    other.write_bytes(artifact.read_bytes())
    write_manifest(other, {**read_manifest(other), "stack": "relay", "tvm": "0.19.0.12"})
    done = run("verify", other)
    assert done.returncode == 2
    assert "needs TVM 0.19" in done.stderr
    assert "--stack relay" in done.stderr
    # It can be looked at all the same.
    assert json.loads(run("inspect", other, "--json").stdout)["stack"] == "relay"


def test_an_environment_without_tvm_019_does_not_run_itself_for_ever(
    run: Run, tmp_path: Path
) -> None:
    done = run("--stack", "relay", "models", TVM_MOBILENET_RELAY=os.fspath(Path(sys.prefix)))
    assert done.returncode == 2
    assert "has no TVM 0.19" in done.stderr
