"""How to reach a server: each kind of address knows how to get a connection to one."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import time
from collections.abc import Collection, Iterator
from typing import Any, Protocol

from tvm_mobilenet.common.stacks import Stack
from tvm_mobilenet.device.address import Address
from tvm_mobilenet.device.keys import find_key
from tvm_mobilenet.device.owned import OwnedServer
from tvm_mobilenet.device.starting import local_command, ssh_command
from tvm_mobilenet.device.wire import Line, connect
from tvm_mobilenet.errors import DeviceError, DeviceLostError, DeviceTimeoutError


class Endpoint(Protocol):
    """Where connections come from."""

    def dial(self, timeout: float) -> Line:
        """Return a new connection, within `timeout` seconds."""

    def free(self, timeout: float) -> int:
        """Return how many boards wait for a client."""

    def avoid(self, boards: Collection[str]) -> None:
        """Give no connection to these, where there are others."""

    def close(self) -> None:
        """End what was started for this endpoint."""


def open_endpoint(address: Address, timeout: float, stack: Stack) -> Endpoint:
    """Return the endpoint of an address; for ``local`` and ssh the server is started."""
    if address.kind == "local":
        return OwnedServer(address.text, local_command(), timeout, stack)
    if address.kind == "ssh":
        return OwnedServer(address.text, ssh_command(address, timeout, stack), timeout, stack)
    return _Tracker(address) if address.kind == "tracker" else _Server(address)


class _Server:
    """A server that somebody started: ours, or TVM's own without a key."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def dial(self, timeout: float) -> Line:
        address = self._address
        # Read anew each time: a server that is started again wants another.
        key = address.key or find_key(address.host, address.port)
        return Line(connect(address.host, address.port, address.text, timeout), key, address.text)

    def free(self, timeout: float) -> int:
        """One server, one client."""
        return 1

    def avoid(self, boards: Collection[str]) -> None:
        """There is no other."""

    def close(self) -> None:
        """Nothing was started."""


class _Tracker:
    """Servers that TVM's tracker hands out, one to a client."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._avoided: frozenset[str] = frozenset()
        self._held: dict[str, socket.socket] = {}

    def dial(self, timeout: float) -> Line:
        """Ask for a board until one is free that answers."""
        deadline = time.monotonic() + timeout
        while True:
            host, port, key = self._request(max(0.1, deadline - time.monotonic()))
            where = f"{self._address.text} ({host}:{port})"
            try:
                left = max(0.1, deadline - time.monotonic())
                sock = connect(host, port, where, left)
            except DeviceError as error:
                # The tracker still lists a board that has just died: ask for another.
                if time.monotonic() + 1 > deadline:
                    raise self._explained(host, error) from error
                time.sleep(0.2)
                continue
            if where not in self._avoided:
                return Line(sock, key, where)
            # A server that has accepted this is not handed out again.
            if old := self._held.pop(where, None):
                old.close()
            self._held[where] = sock
            if time.monotonic() > deadline:
                raise DeviceTimeoutError(
                    f"only boards that are left alone were free in {timeout:.0f} s",
                    "see what is wrong with them",
                )

    def avoid(self, boards: Collection[str]) -> None:
        """Hold the connections to these, when the tracker hands them out; let others go."""
        self._avoided = frozenset(boards)
        for where in self._held.keys() - self._avoided:
            self._held.pop(where).close()

    def free(self, timeout: float) -> int:
        """As the tracker counts."""
        with self._asked(timeout) as (_, summary):
            return int(summary["queue_info"].get(self._address.key, {}).get("free", 0))

    def close(self) -> None:
        """Let go of what is held."""
        self.avoid(())

    def _explained(self, board: str, error: DeviceError) -> DeviceError:
        try:
            loopback = ipaddress.ip_address(board).is_loopback
        except ValueError:
            loopback = board == "localhost"
        if loopback and self._address.host not in ("127.0.0.1", "localhost", "::1"):
            return DeviceError(
                f"{error.what}; the tracker knows the board by an address of its own machine",
                "start the board's server with an address that this machine reaches",
            )
        return error

    def _request(self, timeout: float) -> tuple[str, int, str]:
        """Wait for a board under the key; return host, port and what to say to it."""
        from tvm.rpc import base

        with self._asked(timeout) as (sock, summary):
            known = [str(server["key"]) for server in summary["server_info"]]
            base.sendjson(sock, [base.TrackerCode.REQUEST, self._address.key, "", 1])
            try:
                status, value = base.recvjson(sock)
            except TimeoutError as error:
                raise self._none_free(timeout, known) from error
        if status != base.TrackerCode.SUCCESS:
            raise DeviceError(
                f"{self._address.text}: the tracker refuses", "start the tracker again"
            )
        host, port, key = value
        return str(host), int(port), str(key)

    @contextlib.contextmanager
    def _asked(self, timeout: float) -> Iterator[tuple[socket.socket, dict[str, Any]]]:
        """Connect to the tracker, and ask what it knows."""
        from tvm.rpc import base

        address = self._address
        with connect(address.host, address.port, address.text, timeout) as sock:
            sock.settimeout(timeout)
            try:
                sock.sendall(struct.pack("<i", base.RPC_TRACKER_MAGIC))
                if struct.unpack("<i", base.recvall(sock, 4))[0] != base.RPC_TRACKER_MAGIC:
                    raise DeviceError(
                        f"{address.host}:{address.port} is no tracker of TVM's",
                        "check the port; `tvm-mobilenet device tracker` starts one",
                    )
                base.sendjson(sock, [base.TrackerCode.SUMMARY])
                yield sock, base.recvjson(sock)[1]
            except TimeoutError as error:
                raise self._none_free(timeout, None) from error
            except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
                raise DeviceLostError(
                    f"the tracker {address.host}:{address.port} closed the connection, or speaks "
                    f"another language: {error}",
                    "start it again; `tvm-mobilenet device tracker`",
                ) from error

    def _none_free(self, timeout: float, known: list[str] | None) -> DeviceTimeoutError:
        address = self._address
        if known is None:
            return DeviceTimeoutError(
                f"{address.host}:{address.port} did not answer in {timeout:.0f} s as a tracker",
                "check the port; start the tracker again",
            )
        mine = known.count(f"server:{address.key}")
        if mine:
            return DeviceTimeoutError(
                f"none of the {mine} boards under {address.key!r} became free in {timeout:.0f} s",
                "wait until others are done, or start more boards",
            )
        names = ", ".join(sorted({key.removeprefix("server:") for key in known})) or "none"
        return DeviceTimeoutError(
            f"no board is registered under {address.key!r} at {address.host}:{address.port} "
            f"(registered: {names})",
            f"on a board: tvm-mobilenet device serve --tracker HOST:PORT --key {address.key}",
        )
