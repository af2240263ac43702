"""TVM's RPC server, as it runs on a board: started, watched, started again, ended.

This file is also sent, as it is, through ssh to a machine that has only Python and
TVM's runtime, so it uses the standard library and ``tvm`` alone.

TVM's own server stops listening for good, without ending, as soon as one session
dies of a signal (tvm/rpc/server.py, _serving raises in the thread that listens): a
kernel that crashes would take the board with it. Here the thread is watched, and the
server listens again at the same port.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Tracker = tuple[str, int] | None


def print_json(**facts: object) -> None:
    """Write one line of JSON."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def find_versions() -> dict[str, str]:
    """Return the versions of TVM's packages, or raise ImportError."""
    from importlib import metadata

    classic = "xtc-tvm-python-bindings"  # TVM 0.19, for the classic stack
    try:
        return {classic: metadata.version(classic)}
    except metadata.PackageNotFoundError:
        pass
    try:
        return {name: metadata.version(name) for name in ("apache-tvm", "apache-tvm-ffi")}
    except metadata.PackageNotFoundError as error:
        raise ImportError(str(error)) from error


def free_port(host: str) -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def listen(host: str, port: int, key: str, tracker: Tracker) -> Any:
    """Start TVM's server in threads of this process, and return its state.

    Raises OSError where the port is taken.
    """
    from tvm.rpc import server

    # What TVM's server is written for: a session starts at once, with TVM in memory.
    multiprocessing.set_start_method("fork", force=True)
    try:
        return server.PopenRPCServerState(
            host, port, port + 1, key=key, tracker_addr=tracker, silent=True
        )
    except ValueError as error:  # what it makes of a port in use
        raise OSError(str(error)) from error


def keep_listening(state: Any, key: str, tracker: Tracker, folder: str) -> None:
    """Watch the thread that listens, and start another whenever it dies; never returns.

    The socket stays open, so that who connects meanwhile waits instead of being refused.
    `folder` is where this process was before the first session.
    """
    from tvm.rpc import server

    while True:
        state.thread.join()
        sys.stderr.write("a session died; listening again\n")
        os.chdir(folder)  # TVM's thread had gone to the session's, which is no more
        arguments = (state.sock, state.port, key, tracker, None, None)
        state.thread = threading.Thread(target=server._listen_loop, args=arguments)
        state.thread.start()
        time.sleep(0.1)  # whatever kills it, this does not become a busy loop


def serve(
    host: str,
    port: int,
    key: str = "",
    tracker: Tracker = None,
    tell: Callable[..., object] = print_json,
) -> None:
    """Serve until this process ends.

    ``port`` 0 takes any. Tells ``port`` and ``versions`` once it listens, or ``error``
    (``python``, ``tvm`` or ``port``) with ``text``, and then returns.
    """
    # Before TVM is imported: the compiler's 260 MB are not needed, nor always there.
    os.environ.setdefault("TVM_USE_RUNTIME_LIB", "1")
    # A tuple, so that no tool takes the rest for unreachable.
    if tuple(sys.version_info) < (3, 10):
        tell(error="python", text=".".join(map(str, sys.version_info[:3])))
        return
    try:
        versions = find_versions()
        import tvm.rpc  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        tell(error="tvm", text=str(error), python=sys.executable)
        return
    port = port or free_port(host)
    folder = os.getcwd()  # now: TVM's thread goes to a session's as soon as one connects
    try:
        state = listen(host, port, key, tracker)
    except OSError as error:
        tell(error="port", text=str(error))
        return
    tell(port=port, versions=versions, python=sys.executable)
    keep_listening(state, key, tracker, folder)  # until the process is ended


def leave_with_owner() -> None:
    """End this process and all that it started as soon as standard input is closed."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        # Only a group of its own: else the caller's would end too.
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def serve_owner(key: str, port: int) -> None:
    """Serve on loopback for the one at the other end of standard input."""
    leave_with_owner()
    serve("127.0.0.1", port, key)
    os._exit(0)
