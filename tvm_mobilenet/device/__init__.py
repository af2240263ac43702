"""Boards: run, check and time compiled code on another machine, or in another process.

In the order of a connection: `address` (the text that a user writes), `endpoints`, `owned` and
`starting` (how to reach or start a server, `serve` on its side), `wire` (the handshake, and
`relay`, which ends what hangs), `connection` (calls with time limits, with `agent` on the
board), `description` (what a board is), `module` (an artifact there), `session` (all of it).
"""

from __future__ import annotations

from collections.abc import Collection

from tvm_mobilenet.common.stacks import installed_stack
from tvm_mobilenet.device.address import Address, parse_address
from tvm_mobilenet.device.connection import LIFETIME_S, TIMEOUT_S
from tvm_mobilenet.device.description import Description, describe
from tvm_mobilenet.device.endpoints import open_endpoint
from tvm_mobilenet.device.module import RemoteModule
from tvm_mobilenet.device.session import Session

__all__ = ["Address", "Description", "Device", "RemoteModule", "Session", "open_device"]


class Device:
    """A board, or several of a kind, that sessions are opened on.

    From :func:`open_device`; close it, or use it in a ``with`` statement. Sessions may
    be opened one after another; several at a time with a tracker only, since one of TVM's
    servers serves one client.

    Attributes
    ----------
    address : Address
        What was asked for.
    timeout : float
        How long one answer may take, seconds.
    where : str
        The board that a session was last opened on, or failed to.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        self.address = address
        self.timeout = timeout
        self._stack = installed_stack()
        self._endpoint = open_endpoint(address, timeout, self._stack)
        self._description: Description | None = None
        self.where = address.text

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Device {self.address.text}>"

    def session(self, timeout: float | None = None, lifetime: int = LIFETIME_S) -> Session:
        """Open a session: a fresh process on the board.

        Parameters
        ----------
        timeout : float, optional
            How long one answer may take, seconds; the device's without.
        lifetime : int
            Seconds after which the board may end it.

        Raises
        ------
        DeviceError, DeviceLostError, DeviceTimeoutError
            The board cannot be reached, is gone, or does not answer in time.
        """
        seconds = self.timeout if timeout is None else timeout
        self.where = self.address.text
        line = self._endpoint.dial(seconds)
        self.where = line.where
        return Session(line, seconds, lifetime, self._stack)

    def describe(self) -> Description:
        """Ask what is there, in a session of its own; asked once."""
        if self._description is None:
            with self.session() as session:
                self._description = describe(session)
        return self._description

    def free(self) -> int:
        """Return how many boards a session could be opened on just now.

        Raises
        ------
        DeviceError
            The tracker does not say.
        """
        return self._endpoint.free(self.timeout)

    def avoid(self, boards: Collection[str]) -> None:
        """Leave boards alone from now on, of those that a tracker hands out.

        They are kept busy, so that the tracker does not hand them out again and again: to
        nobody, until they are not named any more or this device is closed.

        Parameters
        ----------
        boards : collection of str
            As in :attr:`where`.
        """
        self._endpoint.avoid(boards)

    def close(self) -> None:
        """End what was started for this device: the local server, or the one behind ssh."""
        self._endpoint.close()


def open_device(text: str, timeout: float = TIMEOUT_S) -> Device:
    """Open a device.

    Parameters
    ----------
    text : str
        ``local``, ``HOST:PORT``, ``tracker://HOST:PORT/KEY`` or
        ``ssh://USER@HOST[:PORT]``.
    timeout : float
        How long one answer may take, seconds; also the start of a server.

    Returns
    -------
    Device
        Close it, or use it in a ``with`` statement.

    Raises
    ------
    DeviceError
        Its text names what is wrong: an address that means nothing, no host, no ssh
        key, no Python, no TVM.
    DeviceTimeoutError
        No answer.
    """
    return Device(parse_address(text), timeout)
