"""Real parts: servers, trackers, sshd, and a board that QEMU plays."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tvm_mobilenet.artifact.toolchain_cuda import Nvcc, find_nvcc
from tvm_mobilenet.errors import ToolchainError

ROOT = Path(__file__).parents[1]
BOARD = ROOT / "out" / "board" / "python3"
NO_BOARD = "no emulated board: apt install debootstrap qemu-user-static && .ci/board out/board"
SSHD = "/usr/sbin/sshd"
START_S = 120
"""For an answer of the emulated board."""

# What a candidate kernel may do, as functions of a module.
MISCHIEF = r"""
#include <tvm/ffi/c_api.h>
#define FUNCTION(name) __attribute__((visibility("default"))) \
  int __tvm_ffi_##name(void* s, const TVMFFIAny* a, int32_t n, TVMFFIAny* r)
FUNCTION(add) { (void)s; r->type_index = kTVMFFIInt; r->v_int64 = n;
  for (int i = 0; i < n; ++i) r->v_int64 += a[i].v_int64; return 0; }
FUNCTION(crash) { (void)s, (void)a, (void)n, (void)r; *(volatile int*)8 = 1; return 0; }
FUNCTION(hang) { (void)s, (void)a, (void)n, (void)r; for (volatile int i = 0;; ++i) {} }
FUNCTION(refuse) { (void)s, (void)a, (void)n, (void)r;
  TVMFFIErrorSetRaisedFromCStr("ValueError", "not today"); return -1; }
"""


def compiled(path: Path, target: str) -> Path:
    """Compile a very small network."""
    import tvm_mobilenet as tm

    model = tm.mobilenet_v1(alpha=0.25, resolution=32, classes=7)
    tm.compile(model, target=target, seed=3).export(path)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether a port of loopback is open; nobody is disturbed."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1] == f"0100007F:{port:04X}" and row[3] == "0A" for row in rows)


def alive(group: int) -> bool:
    """Whether a group has processes that run."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, own = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it has just ended
            continue
        if own == str(group) and state not in "ZX":
            return True
    return False


def patience(seconds: float) -> float:
    """Return a limit that is `seconds` where nobody else wants the cores, longer on a busy machine.

    For what must happen within it, though another test waits until it is over: a limit for the
    worst case would cost every run that time.
    """
    return round(seconds * max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0))), 1)


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


class Said(str):
    """A line, and the group of processes that said it."""

    group: int

    @property
    def address(self) -> str:
        """Where it listens."""
        return self.removeprefix("listening on ").split(";")[0]


@contextlib.contextmanager
def running(*command: object, until: str = "listening on", seconds: float = 120) -> Iterator[Said]:
    """Run a process in a group of its own until the block ends; yields the line it said."""
    process = subprocess.Popen(
        list(map(str, command)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if until in line:
                break
        assert said, "it said nothing"
        assert until in said[-1], "".join(said)
        line = Said(said[-1].strip())
        line.group = process.pid
        yield line
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        # A session's process has the port too; what died stays in the group until it is reaped.
        wait_for(lambda: not alive(process.pid), 5)


@functools.cache
def host_cxx() -> str:
    """Return g++, which CUDA source takes here, nvcc's as ours; or skip."""
    program = shutil.which("g++")
    if program is None:
        pytest.skip("no C++ compiler: apt install g++")
    return program


@functools.cache
def nvcc() -> Nvcc:
    """Return an nvcc that compiles, or skip."""
    host_cxx()
    try:
        return find_nvcc()
    except ToolchainError as error:
        pytest.skip(f"{error.what}: pip install 'tvm-mobilenet[cuda]'")


@contextlib.contextmanager
def served(board: Path, tracker: str = "", key: str = "") -> Iterator[str]:
    """Run our server in the board; yields its address."""
    from tvm_mobilenet.device import serve

    host, _, port = tracker.rpartition(":")
    where = (host, int(port)) if tracker else None
    program = Path(serve.__file__).read_text()
    program += f"\nserve('127.0.0.1', 0, {key!r}, {where!r})\n"
    with running(board, "-c", program, until='"port"', seconds=START_S) as line:
        yield f"127.0.0.1:{json.loads(line)['port']}"


@contextlib.contextmanager
def silent_board(tracker: str, key: str) -> Iterator[list[bytes]]:
    """A board that registers, accepts and says nothing; yields what it was told.

    Unlike a server that hangs, it registers again as soon as it was handed out.
    """
    from tvm.rpc import base

    host, _, port = tracker.rpartition(":")
    told: list[bytes] = []
    kept: list[socket.socket] = []
    with (
        socket.create_connection((host, int(port))) as line,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        line.sendall(struct.pack("<i", base.RPC_TRACKER_MAGIC))
        base.recvall(line, 4)
        own = listener.getsockname()[1]

        def ask(*words: object) -> None:
            base.sendjson(line, list(words))
            base.recvjson(line)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    ask(base.TrackerCode.PUT, key, (own, base.random_key(key)), None)
                    kept.append(listener.accept()[0])
                    kept[-1].settimeout(0.3)
                    with contextlib.suppress(TimeoutError):
                        told.append(kept[-1].recv(64))

        ask(base.TrackerCode.UPDATE_INFO, {"key": f"server:{key}", "addr": (None, own)})
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield told
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for sock in kept:
                sock.close()


def device_command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tvm_mobilenet", "device", *map(str, arguments)]


@contextlib.contextmanager
def ssh_server(folder: Path) -> Iterator[tuple[int, Path]]:
    """Run sshd on loopback with a throw-away key; yields its port and a folder for PATH."""
    if not Path(SSHD).exists():
        pytest.skip("no sshd: apt install openssh-server")
    for name in ("host", "user"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(key, check=True)
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\n"
        f"AuthorizedKeysFile {folder}/user.pub\nPidFile {folder}/pid\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
    )
    public = (folder / "host.pub").read_text().split()[:2]
    (folder / "known").write_text(f"[127.0.0.1]:{port} {' '.join(public)}\n")
    (folder / "ssh_config").write_text(
        f"IdentityFile {folder}/user\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known\n"
        "GlobalKnownHostsFile /dev/null\n"
    )
    # The user's own ssh, told where the throw-away key is.
    (folder / "bin").mkdir()
    shim = folder / "bin" / "ssh"
    shim.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
    shim.chmod(0o755)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    command = [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")]
    with running(*command, until="listening on"):
        yield port, folder
