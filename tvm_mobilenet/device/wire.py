"""One connection to an RPC server: TVM's handshake, and the relay that ends what hangs."""

from __future__ import annotations

import contextlib
import secrets
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tvm_mobilenet.device import relay
from tvm_mobilenet.errors import DeviceError, DeviceLostError, DeviceTimeoutError

_OTHER_KEY, _ANSWERED = relay.MAGIC + 2, relay.MAGIC
_RELAY_START_S = 120.0


class Line(NamedTuple):
    """A connection to a server, not yet greeted."""

    sock: socket.socket
    key: str
    """What the server wants to hear."""
    where: str
    """Which server, for messages."""


def greet(sock: socket.socket, key: str, session_s: int, where: str, timeout: float) -> None:
    """Say what TVM's client says first, and check the answer.

    Parameters
    ----------
    sock : socket
        Connected to a server.
    key : str
        That the server wants to hear; ``""`` of one without.
    session_s : int
        Seconds after which the server may end the session.
    where : str
        What messages call the device.
    timeout : float
        Seconds for all of it.

    Raises
    ------
    DeviceTimeoutError
        No answer: a server that serves somebody else does not answer either.
    DeviceLostError
        The connection was closed.
    DeviceError
        No RPC server, or one with another key.
    """
    said = f"client:{key} -timeout={session_s}".encode()
    sock.settimeout(timeout)
    try:
        sock.sendall(struct.pack("<ii", relay.MAGIC, len(said)) + said)
        code = struct.unpack("<i", relay.receive(sock, 4))[0]
        if code == _OTHER_KEY:
            raise DeviceError(
                f"{where} has an RPC server that wants another key",
                "its server said as it started where the key is: write HOST:PORT/KEY; "
                "a board of a tracker's is asked for by tracker://HOST:PORT/KEY",
            )
        if code != _ANSWERED:
            raise DeviceError(
                f"{where} does not answer as TVM's RPC server",
                "check host and port; `tvm-mobilenet device serve` starts one",
            )
        size = struct.unpack("<i", relay.receive(sock, 4))[0]
        if not 0 <= size < 4096:
            raise DeviceError(f"{where} does not answer as TVM's RPC server", "check the port")
        relay.receive(sock, size)
    except TimeoutError as error:
        raise DeviceTimeoutError(
            f"{where} accepted the connection but did not answer in {timeout:.0f} s",
            "it may serve another client, or hang: wait, or start its server again",
        ) from error
    except (OSError, relay.EndedError) as error:
        raise DeviceLostError(
            f"{where} closed the connection before it answered",
            "see what its server printed; start it again",
        ) from error


class Wire:
    """The relay of one session, from this side.

    Parameters
    ----------
    board : socket
        Greeted. It belongs to the relay from now on.
    where : str
        What messages call the device.

    Attributes
    ----------
    port : int
        On loopback, where TVM's client connects.
    name : str
        That the client has to say.
    """

    def __init__(self, board: socket.socket, where: str) -> None:
        self.where = where
        self.name = secrets.token_hex(16)
        self._limit = 0.0
        self._control, theirs = socket.socketpair()
        board.settimeout(None)
        try:
            with board, theirs:
                fds = (board.fileno(), theirs.fileno())
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(Path(relay.__file__)), *map(str, fds)],
                    pass_fds=fds,
                    stdin=subprocess.DEVNULL,
                )
            self._control.settimeout(_RELAY_START_S)
            self._control.sendall(self.name.encode() + b"\n")
            self.port = int(self._line())
        except (OSError, ValueError) as error:
            self.close()
            raise DeviceError(
                f"the process that watches {where} did not start: {error}", "try again"
            ) from error

    def limit(self, seconds: float) -> None:
        """Say how long the board may owe an answer from now on, seconds."""
        if seconds == self._limit:
            return
        self._limit = seconds
        # If the relay has ended, the call that this is for says so.
        with contextlib.suppress(OSError):
            self._control.sendall(b"%g\n" % seconds)

    def why(self) -> DeviceError | None:
        """Return the error that ended this connection, or None while it stands.

        The relay says so just before it closes; a moment is given to it.
        """
        try:
            self._process.wait(0.3)
        except subprocess.TimeoutExpired:
            return None
        self._control.settimeout(1.0)
        try:
            reason = self._line()
        except OSError:
            reason = "lost"
        if reason == "late":
            return DeviceTimeoutError(
                f"{self.where} did not answer in {self._limit:g} s",
                "what it ran may hang, or the machine or the network is down",
            )
        return DeviceLostError(
            f"the connection to {self.where} was lost",
            "what it ran may have crashed, or the machine or the network is down",
        )

    def close(self) -> None:
        """Close both sides; the board's server ends the session."""
        self._control.close()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _line(self) -> str:
        data = b""
        while not data.endswith(b"\n"):
            part = self._control.recv(64)
            if not part:
                raise OSError("it ended")
            data += part
        return data.decode().strip()


def connect(host: str, port: int, where: str, timeout: float) -> socket.socket:
    """Open a TCP connection, or say why there is none."""
    start = time.monotonic()
    try:
        return socket.create_connection((host, port), timeout)
    except socket.gaierror as error:
        raise DeviceError(
            f"{where}: there is no host {host!r} ({error.strerror})", "check the name"
        ) from error
    except TimeoutError as error:
        raise DeviceTimeoutError(
            f"{where}: {host}:{port} did not answer in {time.monotonic() - start:.0f} s",
            "check that the machine is up and that no firewall is in between",
        ) from error
    except OSError as error:
        raise DeviceError(
            f"{where}: nothing listens on {host}:{port} ({error.strerror or error})",
            "start it with `tvm-mobilenet device serve`, or check host and port",
        ) from error
