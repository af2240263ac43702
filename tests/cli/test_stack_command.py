"""``--stack``: the same command in the environment of the classic stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tvm_mobilenet.cli import stack
from tvm_mobilenet.errors import StackError
from tvm_mobilenet.runtime.artifact import read_manifest, write_manifest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def graph_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """What the graph executor would read: the calls one behind the other."""
    kernels = [call["kernel"] for call in manifest["calls"]]
    (source,), (target,) = manifest["inputs"], manifest["outputs"]
    nodes: list[dict[str, Any]] = [{"op": "null", "name": source["name"], "inputs": []}]
    for at, kernel in enumerate(kernels):
        attrs = {"func_name": kernel}
        nodes.append({"op": "tvm_op", "name": kernel, "inputs": [[at, 0, 0]], "attrs": attrs})
    count = len(nodes)
    return {
        "nodes": nodes,
        "arg_nodes": [0],
        "heads": [[count - 1, 0, 0]],
        "node_row_ptr": list(range(count + 1)),
        "attrs": {
            "dltype": ["list_str", ["float32"] * count],
            "storage_id": ["list_int", list(range(count))],
            "shape": ["list_shape", [source["shape"]] * len(kernels) + [target["shape"]]],
        },
        "parameters": {},
    }


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
    option, code, *words = done.stdout.splitlines()
    assert (option, words) == ("-c", list(line))
    assert "run_module('tvm_mobilenet'" in code
    assert done.returncode == 7


def test_without_that_environment_it_says_how_to_make_it(run: Run, tmp_path: Path) -> None:
    done = run("--stack", "relay", "models", TVM_MOBILENET_RELAY=str(tmp_path))
    assert done.returncode == 2
    assert "make relay" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_folder_one_stands_in_does_not_decide_what_runs(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`./.venv-relay` of a repository that somebody else wrote."""
    os.rename(environment, tmp_path / ".venv-relay")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(stack.VARIABLE, raising=False)
    project = tmp_path / "project"
    monkeypatch.setattr(stack, "__file__", str(project / "tvm_mobilenet" / "cli" / "stack.py"))
    monkeypatch.setattr(sys, "prefix", str(project / ".venv"))
    with pytest.raises(StackError, match="no bin/python in") as caught:
        stack.find_environment()
    assert str(tmp_path / ".venv-relay") not in str(caught.value)
    # Beside the project it is found, unless somebody else put it there.
    os.makedirs(project)
    os.rename(tmp_path / ".venv-relay", project / ".venv-relay")
    assert stack.find_environment() == project / ".venv-relay" / "bin" / "python"
    monkeypatch.setattr(os, "getuid", lambda: os.stat(project).st_uid + 1)
    if os.stat(project).st_uid:
        with pytest.raises(StackError):
            stack.find_environment()


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
    manifest = read_manifest(other)
    del manifest["c_interface"]
    changes = {"stack": "relay", "tvm": "0.19.0.12", "graph": graph_of(manifest)}
    changes["container"] = "graph"
    write_manifest(other, {**manifest, **changes})
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
