"""A real sshd on loopback, with a throw-away key."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from parts import listens, wait_for

import tvm_mobilenet as tm
from tvm_mobilenet.device import open_device
from tvm_mobilenet.errors import DeviceError, DeviceLostError

Sshd = tuple[int, Path]


def address(sshd: Sshd, python: str = sys.executable) -> str:
    return f"ssh://127.0.0.1:{sshd[0]}?python={python}"


def test_verifies_through_ssh_and_leaves_nothing(sshd: Sshd, artifact: Path) -> None:
    with open_device(address(sshd), 60) as device:
        with device.session() as session:
            tm.verify(session.artifact(artifact)).check()
        with device.session() as session:  # a second one through the same tunnel
            pid = int(session.files("/proc/self/stat")["/proc/self/stat"].split()[0])
            ports = [row for row in listening() if row[1] == pid_of_parent(pid)]
            assert ports
            assert {host for host, _ in ports} == {"0100007F"}
    assert wait_for(lambda: not Path(f"/proc/{pid}").exists())


def pid_of_parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def listening() -> list[tuple[str, int]]:
    """Address and process of every TCP socket that listens, IPv6 included."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            row = line.split()
            if row[3] == "0A":
                sockets[f"socket:[{row[9]}]"] = row[1].split(":")[0]
    found = []
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            name = str(fd.readlink())
        except OSError:
            continue
        if name in sockets:
            found.append((sockets[name], int(fd.parts[2])))
    return found


def test_a_host_that_is_unknown(sshd: Sshd) -> None:
    with pytest.raises(DeviceError, match="the host is unknown"):
        open_device("ssh://no-such-host.invalid", 20)


def test_a_host_key_that_is_unknown(sshd: Sshd) -> None:
    (sshd[1] / "known").write_text("")
    with pytest.raises(DeviceError, match="does not know the host's key"):
        open_device(address(sshd), 20)


def test_a_key_that_is_refused(sshd: Sshd) -> None:
    (sshd[1] / "user.pub").write_text("")
    with pytest.raises(DeviceError, match="key was refused"):
        open_device(address(sshd), 20)


def test_nobody_listens(sshd: Sshd) -> None:
    with pytest.raises(DeviceError, match="no ssh server listens"):
        open_device("ssh://127.0.0.1:1", 20)


def test_no_python_there(sshd: Sshd) -> None:
    with pytest.raises(DeviceError, match="no Python there"):
        open_device(address(sshd, "/no/such/python"), 20)


def test_no_tvm_there(sshd: Sshd, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(DeviceError, match=r"has no TVM.*apache-tvm"):
        open_device(address(sshd, str(bare)), 20)


def test_an_old_python_there(sshd: Sshd, tmp_path: Path) -> None:
    """One that says of itself that it is old."""
    old = tmp_path / "python"
    start = "import sys; sys.version_info = (3, 9, 2)\n"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{start}$2"\n')
    old.chmod(0o755)
    with pytest.raises(DeviceError, match=r"3\.9\.2, 3\.10 or newer"):
        open_device(address(sshd, str(old)), 20)


def test_the_connection_is_cut(sshd: Sshd) -> None:
    with open_device(address(sshd), 60) as device, device.session() as session:
        pid = int(session.files("/proc/self/stat")["/proc/self/stat"].split()[0])
        ssh = device._endpoint._process
        ssh.send_signal(signal.SIGKILL)
        assert ssh.wait(10) == -signal.SIGKILL
        with pytest.raises(DeviceLostError):
            session.ping()
        with pytest.raises(DeviceLostError, match="open it again"):
            device.session()
        assert wait_for(lambda: not Path(f"/proc/{pid}").exists())
    assert listens(sshd[0])
