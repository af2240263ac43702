"""The command line with a device."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import run
from parts import device_command, free_port, running

from tvm_mobilenet.machine import host


def test_check(server: str) -> None:
    done = run("device", "check", server, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    spec = host()
    assert (found["triple"], found["cpu"], found["cores"]) == (spec.triple, spec.cpu, spec.cores)
    assert found["tvm"] == "0.27.0.post1"
    assert found["features"]
    assert found["round_trip_ms"] > 0
    table = run("device", "check", server)
    assert table.returncode == 0, table.stderr
    for text in (server, spec.triple, "round trip", "0.27.0.post1", "compile with"):
        assert text in table.stdout


def test_check_refuses_another_version(tmp_path: Path) -> None:
    """A server whose TVM calls itself 0.26: its folder, under another version's name."""
    import tvm
    import tvm_ffi

    site = tmp_path / "site"
    site.mkdir()
    for module in (tvm, tvm_ffi):
        package = Path(module.__file__).parent
        folder = site / package.name
        # Real folders, so that the libraries are mapped under these names.
        for file in package.rglob("*"):
            copy = folder / file.relative_to(package)
            if file.is_dir():
                copy.mkdir(parents=True, exist_ok=True)
            elif "compiler" not in file.name and "__pycache__" not in file.parts:
                copy.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(file, copy)
                except OSError:
                    copy.write_bytes(file.read_bytes())
    for name, version in (("apache_tvm", "0.26.0"), ("apache_tvm_ffi", "0.1.14")):
        info = site / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "WHEEL").write_text("Wheel-Version: 1.0\n")
        (info / "METADATA").write_text(f"Name: {name.replace('_', '-')}\nVersion: {version}\n")
    from tvm_mobilenet.device import serve

    program = Path(serve.__file__).read_text()
    program += f"\nsys.path.insert(0, {str(site)!r})\nserve('127.0.0.1', 0)\n"
    with running(sys.executable, "-c", program, until='"port"') as line:
        address = f"127.0.0.1:{json.loads(line)['port']}"
        done = run("device", "check", address)
    assert done.returncode == 2
    assert "apache-tvm 0.26.0" in done.stderr
    assert "pip install" in done.stderr


def test_check_of_nothing() -> None:
    done = run("device", "check", f"127.0.0.1:{free_port()}")
    assert done.returncode == 2
    assert "nothing listens" in done.stderr
    assert "Traceback" not in done.stderr
    assert run("device", "check", "nonsense").returncode == 2


def test_verify_bench_run_profile(server: str, artifact: Path, tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    photo = tmp_path / "photo.png"
    Image.fromarray(np.full((40, 40, 3), 99, np.uint8)).save(photo)
    here = json.loads(run("run", artifact, photo, "--json").stdout)
    there = run("run", artifact, photo, "--json", "--device", server)
    assert there.returncode == 0, there.stderr
    assert json.loads(there.stdout)["images"][0]["top"] == here["images"][0]["top"]

    verified = run("verify", artifact, "--device", server)
    assert verified.returncode == 0, verified.stderr
    assert "end to end" in verified.stdout

    options = ("--device", server, "--rounds", 2, "--seconds", 0.02)
    timed = run("bench", artifact, "--json", *options)
    assert timed.returncode == 0, timed.stderr
    (row,) = json.loads(timed.stdout)["rows"]
    assert 0 < row["p10_ms"] <= row["median_ms"] <= row["p90_ms"]
    refused = run("bench", artifact, "--against", "ncnn", *options)
    assert refused.returncode == 2
    assert "ncnn cannot be timed on a device" in refused.stderr

    profiled = run("profile", artifact, "--device", server, "--repeats", 2, "--json")
    assert profiled.returncode == 0, profiled.stderr
    rows = json.loads(profiled.stdout)["rows"]
    assert all(row["network_us"] > 0 and row["alone_us"] > 0 for row in rows)
    drawn = run("profile", artifact, "--device", server, "--plot", tmp_path / "r.svg")
    assert "no roofline of a device" in drawn.stderr


@pytest.mark.parametrize("command", ["serve", "tracker"])
def test_whoever_serves_is_told_what_that_means(command: str) -> None:
    for listen in ("0.0.0.0", "127.0.0.1"):
        arguments = ("--listen", listen, "--port", free_port())
        with running(*device_command(command, *arguments), until="warning") as said:
            assert "runs code here as this user" in said
            assert ("go through ssh://" in said) == (listen == "0.0.0.0")


def test_a_port_that_is_taken() -> None:
    with running(*device_command("serve", "--port", 0)) as line:
        port = line.split(";")[0].rpartition(":")[2]
        for command in ("serve", "tracker"):
            done = run("device", command, "--port", port)
            assert done.returncode == 2
            assert "did not start" in done.stderr


@pytest.mark.parametrize("command", ["serve", "tracker"])
def test_ctrl_c_ends_it(command: str) -> None:
    process = subprocess.Popen(
        device_command(command, "--port", free_port()), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        with process.stdout:
            assert "listening on" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
