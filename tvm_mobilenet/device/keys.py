"""Keys of servers on this machine: a file that only their user reads, found by that user's client.

A command line is no place for a key: everybody on a machine sees those of all.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import stat
from pathlib import Path

_ANY = ("0.0.0.0", "::")


def new_key() -> str:
    """Return 128 random bits, as text."""
    return secrets.token_hex(16)


def keep_key(host: str, port: int, key: str) -> Path:
    """Write down what a server of this process wants to hear.

    Parameters
    ----------
    host : str
        Address that it listens on.

    Returns
    -------
    Path
        A file of mode 0600, in a folder of mode 0700.

    Raises
    ------
    OSError
        There is no place for it.
    """
    path = _path(host, port)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    forget_key(path)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(key)
    return path


def forget_key(path: Path) -> None:
    """Remove the file of a server that is no more."""
    path.unlink(missing_ok=True)


def find_key(host: str, port: int) -> str:
    """Return the key of a server of this user's on this machine; ``""`` if none is known.

    Parameters
    ----------
    host : str
        As the client reaches it.
    """
    listening = [host, *_ANY] if _is_loopback(host) else [host]
    for address in listening:
        # None there, or none for us: then the server says what it thinks of a client without.
        with contextlib.suppress(OSError), open(_path(address, port)) as file:
            about = os.fstat(file.fileno())
            if about.st_uid == os.getuid() and not stat.S_IMODE(about.st_mode) & 0o077:
                return file.read()
    return ""


def _path(host: str, port: int) -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    name = "127.0.0.1" if host == "localhost" else host
    return Path(state) / "tvm_mobilenet" / "servers" / f"{name}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
