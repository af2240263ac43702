"""Where a device is: the text that a user writes, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

from tvm_mobilenet.errors import DeviceError

Kind = Literal["local", "server", "tracker", "ssh"]

FORMS = "local, HOST:PORT[/KEY], tracker://HOST:PORT/KEY or ssh://USER@HOST[:PORT]"
"""What :func:`parse_address` takes, for messages."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where kernels can run.

    Attributes
    ----------
    text : str
        As the user wrote it, without a server's key; what messages call the device.
    kind : {"local", "server", "tracker", "ssh"}
        A server of our own on this machine; TVM's server that somebody started;
        a server that TVM's tracker hands out; a server started through ssh.
    host, user : str
        ``""`` where there is none.
    port : int
        0 for ssh's own choice, and for ``"local"``.
    key : str
        That a board is asked for of a tracker, or that a server wants to hear; ``""`` for the
        one that :mod:`tvm_mobilenet.device.keys` finds.
    python : str
        The interpreter to run on the board (ssh); ``""`` for the first that has TVM.
    """

    text: str
    kind: Kind
    host: str = ""
    port: int = 0
    user: str = ""
    key: str = ""
    python: str = ""


def parse_address(text: str) -> Address:
    """Take a device's address apart.

    Parameters
    ----------
    text : str
        ``local``, ``HOST:PORT[/KEY]``, ``tracker://HOST:PORT/KEY``, or
        ``ssh://[USER@]HOST[:PORT][?python=/path/on/the/board]``. An IPv6 address
        stands in brackets.

    Raises
    ------
    DeviceError
        None of these.
    """
    if not isinstance(text, str):
        raise DeviceError(f"{text!r} is no device", f"write {FORMS}")
    text = text.strip()
    if text == "local":
        return Address(text, "local")
    scheme, separator, _ = text.partition("://")
    try:
        parts = urlsplit(text if separator else f"server://{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise DeviceError(f"device {text!r} is malformed: {error}", f"write {FORMS}") from error
    if not host or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.:%-]*|::[0-9a-f:]*", host):
        raise DeviceError(f"device {text!r} names no host", f"write {FORMS}")
    options = parse_qs(parts.query)
    path = unquote(parts.path.strip("/"))
    user = unquote(parts.username or "")
    if separator and scheme == "ssh":
        python = options.pop("python", [""])[-1]
        # ssh takes what begins with a dash for an option, and some options run programs.
        if path or options or user.startswith("-"):
            raise DeviceError(
                f"device {text!r} has parts that mean nothing to ssh",
                "write ssh://USER@HOST[:PORT], with ?python=/path/on/the/board behind if need be",
            )
        return Address(text, "ssh", host, port or 0, user, python=python)
    if user or options:
        raise DeviceError(f"device {text!r} has parts that mean nothing here", f"write {FORMS}")
    if not port:
        raise DeviceError(f"device {text!r} names no port", f"write {FORMS}")
    if not separator and re.fullmatch(r"[A-Za-z0-9_.:-]*", path):
        return Address(text.partition("/")[0], "server", host, port, key=path)
    if separator and scheme == "tracker":
        if not path:
            raise DeviceError(
                f"device {text!r} names no key",
                "write the key that the boards were started with: tracker://HOST:PORT/KEY",
            )
        return Address(text, "tracker", host, port, key=path)
    raise DeviceError(f"device {text!r} is of no known kind", f"write {FORMS}")
