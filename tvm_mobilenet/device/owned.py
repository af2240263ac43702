"""A server that this process starts and ends: on this machine, or through ssh.

The program of the server (``serve.py``) goes to a Python through its standard input,
and the server lives until that is closed: with this process, however it ends. It
listens on loopback of its machine and wants a key, 128 random bits, that no command
line shows, so that other users of that machine cannot talk to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

from tvm_mobilenet.common.scratch import scratch_folder
from tvm_mobilenet.common.stacks import Stack
from tvm_mobilenet.device import serve
from tvm_mobilenet.device.keys import new_key
from tvm_mobilenet.device.starting import Command, check_facts, no_start
from tvm_mobilenet.device.wire import Line, connect
from tvm_mobilenet.errors import DeviceLostError, DeviceTimeoutError

# Below what Linux hands out by itself (32768 and up), above what services use.
_PORTS = range(20000, 32000)
_ATTEMPTS = 4
_LONGEST = 75


class OwnedServer:
    """A server under our command.

    Parameters
    ----------
    where : str
        What messages call the device.
    command : callable
        That starts Python there.
    timeout : float
        Seconds until the server has to listen.
    stack : {"relax", "relay"}
        Whose TVM it has to have.

    Raises
    ------
    DeviceError, DeviceTimeoutError
        No connection, no Python, no TVM, or no answer.
    """

    def __init__(self, where: str, command: Command, timeout: float, stack: Stack) -> None:
        self._where, self._stack = where, stack
        self._key = new_key()
        # A socket's path has at most 107 bytes.
        crowded = len(os.fsencode(tempfile.gettempdir())) > _LONGEST
        folder = "/tmp" if crowded else None
        self._folder = scratch_folder(folder)
        self._tunnel = Path(self._folder.name) / "rpc"
        self._said: IO[bytes] = open(Path(self._folder.name) / "stderr", "w+b")  # noqa: SIM115
        self._process: subprocess.Popen[bytes] | None = None
        self.facts: dict[str, Any] = {}
        try:
            self._start(command, time.monotonic() + timeout, timeout)
        except BaseException:
            self.close()
            raise

    def dial(self, timeout: float) -> Line:
        """Connect to the server, through the tunnel if there is one."""
        process = self._process
        if process is None or process.poll() is not None:
            raise DeviceLostError(
                f"the connection to {self._where} was lost{self._last_words()}", "open it again"
            )
        if not self._tunnel.exists():
            port = int(self.facts["port"])
            return Line(connect("127.0.0.1", port, self._where, timeout), self._key, self._where)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        try:
            sock.connect(str(self._tunnel))
        except OSError as error:
            sock.close()
            raise DeviceLostError(
                f"the tunnel to {self._where} is gone ({error.strerror or error})", "open it again"
            ) from error
        return Line(sock, self._key, self._where)

    def free(self, timeout: float) -> int:
        """One server, one client."""
        return 1

    def avoid(self, boards: Collection[str]) -> None:
        """There is no other."""

    def close(self) -> None:
        """End the server: its standard input closes, and it ends all that it started."""
        self._stop()
        self._said.close()
        self._folder.cleanup()

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self, command: Command, deadline: float, timeout: float) -> None:
        for _ in range(_ATTEMPTS):
            port = random.choice(_PORTS)
            program = Path(serve.__file__).read_bytes()
            program += f"\nserve_owner({self._key!r}, {port})\n".encode()
            self._process = subprocess.Popen(
                command(str(self._tunnel), port),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                # A group of its own: Ctrl-C reaches this process alone, which then ends it.
                start_new_session=True,
                env={**os.environ, "LC_ALL": "C"},
            )
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(b"%d\n" % len(program) + program)
                self._process.stdin.flush()
            except OSError:
                self._process.wait(5.0)  # it has ended: what it said tells why
            self.facts = self._report(deadline, timeout)
            if self.facts.get("error") != "port":
                break
            self._stop()
            self._tunnel.unlink(missing_ok=True)
        check_facts(self.facts, self._where, self._stack)

    def _report(self, deadline: float, timeout: float) -> dict[str, Any]:
        """Wait for the line that the server writes when it listens, or cannot."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        text = b""
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                raise DeviceTimeoutError(
                    f"no server listened on {self._where} within {timeout:.0f} s"
                    f"{self._last_words()}",
                    "give it more time, or try `python3 -c 'import tvm'` there",
                )
            part = os.read(process.stdout.fileno(), 4096)
            if not part:
                process.wait(5.0)
                raise no_start(process.returncode, self._last_words(), self._where, self._stack)
            text += part
            for line in text.split(b"\n")[:-1]:
                # A login script may print lines of its own.
                with contextlib.suppress(ValueError):
                    facts = json.loads(line)
                    if isinstance(facts, dict) and {"port", "error"} & set(facts):
                        return facts

    def _last_words(self) -> str:
        self._said.flush()
        self._said.seek(0)
        text = self._said.read().decode(errors="replace").strip()
        return "\n  " + "\n  ".join(text.splitlines()[-8:]) if text else ""
