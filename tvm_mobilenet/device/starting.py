"""What starts Python on the machine of a server, and what it means when that fails."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tvm_mobilenet.common.stacks import PACKAGES, Stack, versions_of
from tvm_mobilenet.device.address import Address
from tvm_mobilenet.errors import DeviceError

Command = Callable[[str, int], Sequence[str]]
"""From a path for a socket and a port of the board to what starts Python there."""

BOARD_PYTHON: dict[Stack, str] = {
    "relax": "~/.tvm_mobilenet/bin/python",
    "relay": "~/.tvm_mobilenet_relay/bin/python",
}
"""By stack, where a board's own Python with its TVM is looked for, before ``python3``."""

_RUN = "import sys;s=sys.stdin.buffer;exec(compile(s.read(int(s.readline())),'serve.py','exec'))"


def local_command() -> Command:
    """Return what starts Python here; it takes any port and needs no tunnel."""
    return lambda _socket, _port: (sys.executable, "-c", _RUN)


def ssh_command(address: Address, timeout: float, stack: Stack) -> Command:
    """Return what starts Python on a board, with a tunnel from a socket in a private folder.

    Raises
    ------
    DeviceError
        There is no ``ssh`` on this machine.
    """
    program = shutil.which("ssh")
    if program is None:
        raise DeviceError(
            f"{address.text}: there is no ssh on this machine",
            "install it (Debian: apt install openssh-client)",
        )
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": str(max(1, round(timeout))),
        # A shared connection would outlive this process, and its tunnels with it.
        "ControlMaster": "no",
        "ControlPath": "none",
        "ExitOnForwardFailure": "yes",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
        "ForwardAgent": "no",
        "ForwardX11": "no",
    }
    run = shlex.quote(_RUN)
    if address.python:
        found = f"exec {shlex.quote(address.python)} -c {run}"
    else:
        found = (
            f"for p in {BOARD_PYTHON[stack]} python3; do "
            f"command -v $p >/dev/null && exec $p -c {run}; done; exit 127"
        )

    def command(tunnel: str, port: int) -> Sequence[str]:
        words = [program, "-T", "-L", f"{tunnel}:127.0.0.1:{port}"]
        for name, value in options.items():
            words += ["-o", f"{name}={value}"]
        words += ["-p", str(address.port)] if address.port else []
        words += ["-l", address.user] if address.user else []
        # The user's shell there may be any; sh is what the loop is written for.
        return [*words, "--", address.host, f"exec sh -c {shlex.quote(found)}"]

    return command


def check_facts(facts: Mapping[str, Any], where: str, stack: Stack) -> None:
    """Refuse a server that could not listen, or that has another TVM; `facts` are what it told."""
    python, found = BOARD_PYTHON[stack], versions_of(stack)
    install = "install there: pip install " + " ".join(f"{name}=={found[name]}" for name in found)
    error = facts.get("error")
    if error == "tvm":
        raise DeviceError(
            f"{where}: {facts['python']} there has no TVM: {facts['text']}",
            f"{install}, see the README",
        )
    if error == "python":
        raise DeviceError(
            f"{where}: Python there is {facts['text']}, 3.10 or newer is needed",
            f"install one, for example as {python}",
        )
    if error:
        raise DeviceError(f"{where}: no free port: {facts['text']}", "try again")
    if absent := PACKAGES[stack].keys() - facts["versions"].keys():
        raise DeviceError(
            f"{where}: {facts['python']} there has another TVM, and no "
            f"{' and no '.join(sorted(absent))}",
            f"{install}, for example in {python}, or name another: ssh://…?python=/path",
        )


def no_start(status: int, said: str, where: str, stack: Stack) -> DeviceError:
    """Name what ssh, or Python, said before it ended."""
    for text, what, remedy in _SSH_ERRORS:
        if text in said:
            return DeviceError(f"{where}: {what}{said}", remedy)
    if status == 127:
        return DeviceError(
            f"{where}: there is no Python there{said}",
            f"install python3, make {BOARD_PYTHON[stack]}, or name one: ssh://…?python=/path",
        )
    return DeviceError(
        f"{where}: the server ended before it listened (status {status}){said}",
        "the lines above are its own",
    )


_SSH_ERRORS = (
    (
        "Could not resolve hostname",
        "the host is unknown",
        "check the name, or give its address",
    ),
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the host has another key than before",
        "if you know why, remove the old one with `ssh-keygen -R HOST`",
    ),
    (
        "Host key verification failed",
        "ssh does not know the host's key",
        "connect once with `ssh USER@HOST` and accept it",
    ),
    (
        "Permission denied",
        "ssh's key was refused",
        "install your key there with `ssh-copy-id USER@HOST`; no password is asked for",
    ),
    (
        "Connection refused",
        "no ssh server listens there",
        "check the port, and that sshd runs there",
    ),
    (
        "timed out",
        "the host does not answer",
        "check that it is up and reachable",
    ),
    (
        "No route to host",
        "the host cannot be reached",
        "check that it is up and in this network",
    ),
)
