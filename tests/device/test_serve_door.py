"""Who gets in at a server's door: whoever has its key, in time, no further than its folder."""

from __future__ import annotations

import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from parts import device_command, free_port, listens, running, wait_for

from tvm_mobilenet.device import open_device
from tvm_mobilenet.device.keys import find_key, keep_key
from tvm_mobilenet.device.relay import MAGIC
from tvm_mobilenet.errors import DeviceError, DeviceTimeoutError

# What comes with TVM, by whichever user of the machine.
_PLAIN_CLIENT = """
import sys
from tvm import rpc
session = rpc.connect("127.0.0.1", int(sys.argv[1]), sys.argv[2])
session.upload(bytearray(b"in"), sys.argv[3])
print(bytes(session.download(sys.argv[3])))
"""


def plain_client(address: str, key: str, name: object) -> subprocess.CompletedProcess[str]:
    port = address.rpartition(":")[2]
    command = [sys.executable, "-c", _PLAIN_CLIENT, port, key, str(name)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def key_of(address: str) -> str:
    host, _, port = address.rpartition(":")
    return find_key(host, int(port))


def test_nobody_without_the_key(server: str, tmp_path: Path) -> None:
    target = tmp_path / "written"
    assert plain_client(server, "", target).returncode != 0
    assert not target.exists()
    refused = pytest.raises(DeviceError, match="wants another key")
    with open_device(f"{server}/guessed", 10) as device, refused:
        device.session()


def test_the_key_is_random_and_its_users_alone(server: str) -> None:
    key = key_of(server)
    assert len(key) == 32
    path = Path(os.environ["XDG_STATE_HOME"], "tvm_mobilenet/servers", server)
    assert path.read_text() == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)  # others may have read it, or written it
    try:
        assert key_of(server) == ""
    finally:
        path.chmod(0o600)
    # Others are told it, and no message repeats it.
    with open_device(f"{server}/{key}", 30) as device:
        assert device.describe().where == server


@pytest.mark.parametrize("listening", ["127.0.0.1", "0.0.0.0"])
def test_a_key_is_said_to_its_server_alone(listening: str) -> None:
    keep_key(listening, 9, "one")
    keep_key(listening, 9, "other")
    assert find_key("127.0.0.1", 9) == find_key("localhost", 9) == "other"
    assert find_key("10.0.0.9", 9) == find_key("berry", 9) == find_key("127.0.0.1", 10) == ""


def test_ctrl_c_takes_the_key_away() -> None:
    process = subprocess.Popen(
        device_command("serve", "--port", 0), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        path = Path(process.stdout.readline().split("its key is in ")[1].split(";")[0])
        assert path.exists()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert not path.exists()


def test_files_stay_in_the_folder(server: str, tmp_path: Path) -> None:
    """Also those of TVM's own client; what is loaded there may still do all that code can."""
    (tmp_path / "secret").write_text("secret")
    done = plain_client(server, key_of(server), tmp_path / "written")
    assert done.returncode != 0
    assert "is not in the session's folder" in done.stderr
    assert not (tmp_path / "written").exists()
    with open_device(server, 30) as device, device.session() as session:
        process = int(session.files("/proc/self/stat")["/proc/self/stat"].split()[0])
        Path(f"/proc/{process}/cwd/link").symlink_to(tmp_path)
        names = [str(tmp_path / "secret"), f"../{tmp_path.name}", "link/secret", "a/../../secret"]
        asks = [(ask, name) for ask in ("download", "load_module", "remove") for name in names]
        for ask, name in asks:
            refused = pytest.raises(DeviceError, match="not in the session's folder")
            with refused, session.answering("asking"):
                getattr(session.rpc, ask)(name)
        session.rpc.upload(bytearray(b"in"), "a-name")
        assert bytes(session.rpc.download("a-name")) == b"in"
    assert (tmp_path / "secret").exists()


@pytest.fixture
def idle(server: str) -> Iterator[list[socket.socket]]:
    """Connections that say nothing, half a greeting, rubbish, or promise too much."""
    host, _, port = server.rpartition(":")
    sayings = [
        b"",
        struct.pack("<i", MAGIC),
        struct.pack("<ii", MAGIC, 40) + b"client:",
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("<ii", MAGIC, -1),
        struct.pack("<ii", MAGIC, 1 << 30),
        struct.pack("<ii", MAGIC, 2) + b"\xff\xfe",
        struct.pack("<ii", MAGIC, 1) + b" ",
    ]
    socks = [socket.create_connection((host, int(port)), 10) for _ in sayings]
    for sock, said in zip(socks, sayings, strict=True):
        sock.sendall(said)
    yield socks
    for sock in socks:
        sock.close()


def test_who_says_nothing_keeps_nobody_waiting(server: str, idle: list[socket.socket]) -> None:
    with open_device(server, 4) as device, device.session() as session:
        session.ping()
        start = time.monotonic()
        for sock in idle:
            sock.settimeout(10)
            assert len(sock.recv(16)) in (0, 4)  # closed, or "another key" first
        assert time.monotonic() - start < 9


def test_a_crowd_is_let_go(server: str) -> None:
    host, _, port = server.rpartition(":")
    crowd = [socket.create_connection((host, int(port)), 10) for _ in range(150)]
    try:
        with open_device(server, 4) as device, device.session() as session:
            session.ping()
    finally:
        for sock in crowd:
            sock.close()


def test_the_next_client_gets_in_when_a_session_ends(server: str) -> None:
    with open_device(server, 30) as device, open_device(server, 30) as other:
        first = device.session()
        with pytest.raises(DeviceTimeoutError, match="another client"):
            other.session(timeout=1)
        first.close()
        with other.session() as second:
            second.ping()


def test_without_a_key_it_says_what_that_means() -> None:
    port = free_port()
    with running(*device_command("serve", "--port", port, "--no-key"), until="warning") as said:
        assert "who reaches this port runs code here as this user" in said
        assert wait_for(lambda: listens(port))
        with open_device(f"127.0.0.1:{port}", 30) as device:
            assert device.describe()


def test_a_key_of_ones_own() -> None:
    command = device_command("serve", "--port", 0, "--key", "pass")
    with running(*command) as line:
        assert key_of(line.address) == "pass"
        with open_device(line.address, 30) as device:
            assert device.describe()
