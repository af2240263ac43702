"""A server on this machine: what works, and everything that may go wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from onnx_nets import Net
from parts import device_command, free_port, listens, patience, running, wait_for

import tvm_mobilenet as tm
from tvm_mobilenet.device import Device, open_device
from tvm_mobilenet.device import session as device_session
from tvm_mobilenet.device.relay import MAGIC, Answers
from tvm_mobilenet.errors import (
    AbiError,
    ArchitectureError,
    ArtifactError,
    CpuFeatureError,
    DeviceCallError,
    DeviceError,
    DeviceLostError,
    DeviceTimeoutError,
    InputError,
)
from tvm_mobilenet.machine import host, host_cpu_features, host_machine
from tvm_mobilenet.runtime.inputs import noise
from tvm_mobilenet.verify.artifact import sample_input


@pytest.fixture(scope="module")
def local() -> Iterator[Device]:
    with open_device("local", patience(30)) as device:
        yield device


def test_describes_this_machine(local: Device) -> None:
    found = local.describe()
    assert found.target == host()
    assert set(found.features) == host_cpu_features()
    assert (found.tvm, found.tvm_ffi) == ("0.27.0.post1", "0.1.14.post1")
    assert 0 < found.round_trip_ms < 5000
    found.check_versions()


@pytest.mark.parametrize("change", [{"tvm": "0.26.0"}, {"tvm": ""}, {"tvm_ffi": "0.2.0"}])
def test_another_tvm_is_refused(local: Device, change: dict[str, str]) -> None:
    found = dataclasses.replace(local.describe(), **change)
    with pytest.raises(AbiError, match="pip install"):
        found.check_versions()


def test_network_is_the_same_there(local: Device, artifact: Path) -> None:
    here = tm.load(artifact, threads=2)
    x = sample_input(tuple(here.inputs[0]["shape"]))
    with local.session() as session:
        there = session.artifact(artifact, threads=2)
        np.testing.assert_array_equal(there(x), here(x))
        mine, theirs = here.trace(x), there.trace(x)
        assert [t.call["kernel"] for t in theirs] == [t.call["kernel"] for t in mine]
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(one.output, other.output)
        tm.verify(there).check()
        times = there.latencies(x, repeats=5)
        assert len(times) == 5
        assert 0 < min(times) < 1
        profile = there.profile(x, repeats=3)
        assert len(profile.calls) == len(mine)
        assert 0 < sum(us for _, us in profile.calls) < 50 * profile.total
        assert there.alone(2) > 0
        with pytest.raises(InputError, match="numpy"):
            there(x.astype(np.float64))
        with pytest.raises(InputError, match="NumPy"):
            there([1.0])


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.UINT8])
def test_kernels_that_write_no_float32_are_seen_there(
    local: Device, kind: int, tmp_path: Path
) -> None:
    net = Net((1, 3, 6, 6), opset=13, dtype=kind)
    y = net.op("Transpose", "image", perm=[0, 1, 3, 2])
    y = net.op("Neg", net.op("Cast", y, to=TensorProto.FLOAT))
    places = net.op("ArgMax", y, axis=3)
    positive = net.op("Greater", y, net.const(0.5))
    compiled = tm.compile(net.save(tmp_path / "net.onnx", y, places, positive), verify=False)
    x = sample_input((1, 3, 6, 6), dtype=compiled.manifest["inputs"][0]["dtype"])
    with local.session() as session:
        there = session.artifact(compiled.path)
        for one, other in zip(compiled.module(x), there(x), strict=True):
            np.testing.assert_array_equal(one, other)
        for mine, theirs in zip(compiled.module.trace(x), there.trace(x), strict=True):
            np.testing.assert_array_equal(mine.output, theirs.output)
        tm.verify(there).check()


def test_what_runs_there_needs_no_version_of_tvm(
    local: Device, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tm.load(artifact).manifest
    monkeypatch.setattr(device_session, "read_manifest", lambda _: {**manifest, "tvm": "0.1.0"})
    with local.session() as session:
        assert np.isfinite(session.artifact(artifact)(noise(manifest["inputs"][0]))).all()


def test_without_a_c_interface_nothing_runs_there(
    local: Device, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = {k: v for k, v in tm.load(artifact).manifest.items() if k != "c_interface"}
    monkeypatch.setattr(device_session, "read_manifest", lambda _: manifest)
    with local.session() as session, pytest.raises(AbiError, match="no C interface"):
        session.artifact(artifact)


def test_the_code_itself_refuses_a_processor(
    local: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = dataclasses.replace(host(), needs=(*host().needs, "no_processor_has_this"))
    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=7)
    made = tm.compile(model, target=target, seed=3, verify=False).export(tmp_path / "strange.so")
    monkeypatch.setattr(device_session, "check_fits", lambda *_, **__: None)
    with local.session() as session, pytest.raises(CpuFeatureError, match="lacks"):
        session.artifact(made)


def test_a_wrong_network_is_found_there(local: Device, artifact: Path) -> None:
    """Weights of another seed: every layer with weights is wrong, and the first is named."""
    from tvm_mobilenet.errors import VerificationError
    from tvm_mobilenet.models import weights

    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=7)
    other = weights.from_source("seed:4", model)
    manifest = tm.load(artifact).manifest
    with local.session() as session:
        there = session.artifact(artifact)
        from tvm_mobilenet.verify.artifact import verify

        with pytest.raises(VerificationError, match=manifest["calls"][0]["layers"][0]):
            verify(there, model, other).check()


def test_an_artifact_of_another_machine_is_refused(local: Device, foreign: Path) -> None:
    if host_machine() == "aarch64":
        pytest.skip("aarch64 is no cross target here")
    with local.session() as session, pytest.raises(ArchitectureError, match="aarch64"):
        session.artifact(foreign)


def test_arrays_and_calls(local: Device, mischief: Callable[[str], Path]) -> None:
    with local.session() as session:
        x = np.arange(6, dtype=np.float32).reshape(2, 3).T
        np.testing.assert_array_equal(session.array(session.tensor(x)), x)
        library = session.load(mischief(host_machine()))
        assert session.call(library, "add", 3, 4) == 9
        times = session.time(library, "add", 1, 2, number=100, repeats=3)
        assert 0 < min(times) < 1e-3
        with pytest.raises(DeviceCallError, match="not today"):
            session.call(library, "refuse")
        assert session.call(library, "add", 1, 1) == 4


def test_a_crash_costs_its_session(local: Device, mischief: Callable[[str], Path]) -> None:
    with local.session() as session:
        library = session.load(mischief(host_machine()))
        with pytest.raises(DeviceLostError, match="crash: the connection to local was lost"):
            session.call(library, "crash")
        with pytest.raises(DeviceLostError):
            session.ping()
    with local.session() as session:
        session.ping()


def test_a_crash_without_the_agent_does_too(local: Device, mischief: Callable[[str], Path]) -> None:
    """TVM's server stops listening after a signal; ours starts it again."""
    with local.session() as session:
        library = session.load(mischief(host_machine()))
        with pytest.raises(DeviceLostError), session.answering("a crash"):
            library["crash"]()
    with local.session() as session:
        session.ping()


def test_a_loop_costs_its_session(local: Device, mischief: Callable[[str], Path]) -> None:
    start = time.monotonic()
    with local.session() as session:
        library = session.load(mischief(host_machine()))
        with pytest.raises(DeviceTimeoutError, match="did not answer in 1 s"):
            session.call(library, "hang", seconds=1)
    with local.session() as session:  # the board ended it by itself
        session.ping()
    assert time.monotonic() - start < patience(25)


def test_a_plain_server_of_tvm_survives_too(mischief: Callable[[str], Path]) -> None:
    port = free_port()
    program = (
        "from tvm.rpc.server import PopenRPCServerState as State\n"
        f"State('127.0.0.1', {port}, {port + 1})"
    )
    with (
        running(sys.executable, "-c", program, until="bind to"),
        open_device(f"127.0.0.1:{port}", patience(30)) as device,
    ):
        assert wait_for(lambda: listens(port))  # it says so before it does
        for name, error in (("crash", DeviceLostError), ("hang", DeviceTimeoutError)):
            with device.session() as session:
                library = session.load(mischief(host_machine()))
                with pytest.raises(error):
                    session.call(library, name, seconds=1)
        assert device.describe().target == host()


def test_a_server_that_is_killed(mischief: Callable[[str], Path]) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(contextlib.ExitStack())
        line = server.enter_context(running(*device_command("serve", "--port", 0)))
        device = open_device(line.removeprefix("listening on ").split(";")[0], patience(30))
        session = stack.enter_context(device.session())
        library = session.load(mischief(host_machine()))
        killer = threading.Timer(0.5, server.close)
        killer.start()
        start = time.monotonic()
        with pytest.raises(DeviceLostError):
            session.call(library, "hang", seconds=60)
        assert time.monotonic() - start < patience(20)
        killer.join()
        with pytest.raises(DeviceError, match="nothing listens"):
            device.session()


@contextlib.contextmanager
def pretending(answer: bytes | None) -> Iterator[str]:
    """A machine that takes connections and says `answer`, or nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    kept.append(listener.accept()[0])
                    if answer is not None:
                        kept[-1].sendall(answer)

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for sock in kept:
            sock.close()


@pytest.mark.parametrize(
    ("answer", "error", "match"),
    [
        (None, DeviceTimeoutError, "accepted the connection but did not answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", DeviceError, "does not answer as TVM's RPC server"),
        (struct.pack("<i", MAGIC + 2), DeviceError, "another key"),
        (struct.pack("<ii", MAGIC, 6) + b"server", DeviceTimeoutError, "opening a session"),
    ],
)
def test_what_is_no_server(answer: bytes | None, error: type[DeviceError], match: str) -> None:
    with pretending(answer) as address, open_device(address, 1) as device:
        start = time.monotonic()
        with pytest.raises(error, match=match):
            device.session()
        assert time.monotonic() - start < patience(15)


def test_a_busy_server(server: str) -> None:
    refused = pytest.raises(DeviceTimeoutError, match="another client")
    with open_device(server, patience(30)) as device, device.session(), refused:
        device.session(timeout=1)


def test_nothing_listens() -> None:
    refused = pytest.raises(DeviceError, match="nothing listens")
    with open_device(f"127.0.0.1:{free_port()}", 5) as device, refused:
        device.session()


def test_a_closed_session_says_so(local: Device) -> None:
    session = local.session()
    session.close()
    with pytest.raises(DeviceError, match="was closed"):
        session.ping()


def test_the_server_goes_with_its_owner() -> None:
    """Killed, the owner leaves neither the server nor the relay behind."""
    program = (
        "from tvm_mobilenet.device import open_device; import time\n"
        "s = open_device('local').session()\n"
        "stat = s.files('/proc/self/stat')['/proc/self/stat']\n"
        "print(stat.split()[0].decode(), s._wire._process.pid, flush=True); time.sleep(60)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout:
        pids = list(map(int, owner.stdout.readline().split()))
    assert len(pids) == 2
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert wait_for(lambda: not any(map(alive, pids)), patience(15))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_answers_are_followed_through_any_cut() -> None:
    stream = struct.pack("<Q", 3) + b"abc" + struct.pack("<Q", 0) + struct.pack("<Q", 1) + b"d"
    ends = {11, 19, 28}
    for size in range(1, len(stream) + 1):
        answers = Answers()
        for at in range(0, len(stream), size):
            whole = answers.take(stream[at : at + size])
            assert whole == (min(at + size, len(stream)) in ends)


def test_uploads_do_not_leave_the_folder(local: Device) -> None:
    with local.session() as session:
        name = session.upload(b"x", "../../../../tmp/tvm_mobilenet_escape")
        assert "/" not in name
        assert bytes(session.rpc.download(name)) == b"x"
    assert not Path("/tmp/tvm_mobilenet_escape").exists()


def test_an_artifact_that_is_none(local: Device, tmp_path: Path) -> None:
    path = tmp_path / "no.so"
    path.write_bytes(os.urandom(100))
    with local.session() as session, pytest.raises(ArtifactError):
        session.artifact(path)
