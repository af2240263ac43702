"""TVM's RPC server, as it runs on a board: started, watched, started again, ended.

This file is also sent, as it is, through ssh to a machine that has only Python and
TVM's runtime, so it uses the standard library and ``tvm`` alone.

TVM's own server stops listening for good, without ending, as soon as one session
dies of a signal (tvm/rpc/server.py, _serving raises in the thread that listens): a
kernel that crashes would take the board with it. Here the thread is watched, and the
server listens again at the same port.

It also waits without limit for what a connection says first, deaf to all others, and its
files are wherever a client says. Here a :class:`Door` stands before it, and
:func:`confine` keeps a session's files in the session's folder.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import multiprocessing
import os
import selectors
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Tracker = tuple[str, int] | None

PROGRAM = "program"
"""A file in every session's folder: how a program of this machine begins."""

_MAGIC, _OTHER_KEY = 0xFF271, 0xFF273  # TVM's (tvm/rpc/base.py)
_GREETING_S = 5.0
_LONGEST_GREETING = 1024
_CROWD = 64
"""Connections that may be in the middle of their greeting."""


def print_json(**facts: object) -> None:
    """Write one line of JSON."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def find_versions() -> dict[str, str]:
    """Return the versions of TVM's packages, or raise ImportError."""
    from importlib import metadata

    with contextlib.suppress(metadata.PackageNotFoundError):  # TVM 0.19, for the classic stack
        return {name: metadata.version(name) for name in ("xtc-tvm-python-bindings",)}
    try:
        return {name: metadata.version(name) for name in ("apache-tvm", "apache-tvm-ffi")}
    except metadata.PackageNotFoundError as error:
        raise ImportError(str(error)) from error


class Heard:
    """A connection whose greeting has been read; TVM's server reads it again."""

    def __init__(self, sock: socket.socket, greeting: bytes) -> None:
        self._sock, self._greeting = sock, greeting

    def recv(self, size: int) -> bytes:
        """Return the next of the greeting; behind it comes nothing."""
        part, self._greeting = self._greeting[:size], self._greeting[size:]
        return part

    def __getattr__(self, name: str) -> Any:
        """Be the socket in everything else."""
        return getattr(self._sock, name)


class Door:
    """What TVM's server takes for its socket: it accepts those who have greeted in time.

    The listening socket belongs to the door. A client has to say `key`; it is None where
    TVM's server knows better, from its tracker.
    """

    def __init__(self, listener: socket.socket, key: str | None) -> None:
        self._listener = listener
        self._wanted = None if key is None else b"client:" + key.encode()
        self._heard: dict[socket.socket, bytes] = {}
        self._late: dict[socket.socket, float] = {}  # in the order in which they came
        self._inside: deque[tuple[Heard, Any]] = deque()
        self._served: Heard | None = None
        self._bell, self._rope = os.pipe()
        self._selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        threading.Thread(target=self._watch, daemon=True).start()

    def fileno(self) -> int:
        """Return what becomes readable when somebody can be accepted."""
        return self._bell

    def accept(self) -> tuple[Heard, Any]:
        """Wait for the next client."""
        os.read(self._bell, 1)
        self._served, address = self._inside.popleft()
        return self._served, address

    def hang_up(self) -> None:
        """Tell the client accepted last, whose session died, that nothing more comes."""
        if self._served is not None:
            with contextlib.suppress(OSError):
                self._served.shutdown(socket.SHUT_RDWR)
            self._served.close()

    def _watch(self) -> None:
        while True:
            first = next(iter(self._late.values()), None)
            wait = None if first is None else max(0.0, first - time.monotonic())
            for event, _ in self._selector.select(wait):
                if event.fileobj is self._listener:
                    self._let_in()
                else:
                    self._listen_to(event.fileobj)  # type: ignore[arg-type]
            now = time.monotonic()
            for sock in [sock for sock, late in self._late.items() if late <= now]:
                self._turn_away(sock)

    def _let_in(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:  # it has left again, or this process has no file left
            time.sleep(0.01)
            return
        if len(self._late) >= _CROWD:
            self._turn_away(next(iter(self._late)))
        sock.setblocking(False)
        self._heard[sock], self._late[sock] = b"", time.monotonic() + _GREETING_S
        self._selector.register(sock, selectors.EVENT_READ)

    def _listen_to(self, sock: socket.socket) -> None:
        """Read on, no byte more than the greeting: its magic, its length, and the words."""
        said = self._heard[sock]
        size = 8 + (struct.unpack_from("<i", said, 4)[0] if len(said) >= 8 else 0)
        try:
            part = sock.recv(size - len(said))
        except BlockingIOError:
            return
        except OSError:
            part = b""
        said += part
        self._heard[sock] = said
        if not part:
            self._turn_away(sock)
        elif len(said) == 8:
            magic, length = struct.unpack("<ii", said)
            if magic != _MAGIC or not 0 < length <= _LONGEST_GREETING:
                self._turn_away(sock)
        elif len(said) == size and size > 8:
            self._judge(sock, said)

    def _judge(self, sock: socket.socket, greeting: bytes) -> None:
        words = greeting[8:].split()
        right = bool(words) and greeting[8:].isascii() and words[0].startswith(b"client:")
        if right and self._wanted is not None:
            right = hmac.compare_digest(words[0], self._wanted)
        if not right:
            with contextlib.suppress(OSError):
                sock.send(struct.pack("<i", _OTHER_KEY))
            self._turn_away(sock)
            return
        self._forget(sock)
        sock.setblocking(True)
        self._inside.append((Heard(sock, greeting), sock.getpeername()))
        os.write(self._rope, b"!")

    def _turn_away(self, sock: socket.socket) -> None:
        self._forget(sock)
        # A session's process has the connection too, and would keep it open.
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()

    def _forget(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        del self._heard[sock], self._late[sock]


def confine(server: Any) -> None:
    """Let ``tvm.rpc.server`` read, write and load files in its session's folder alone.

    Who may load code there can do what the code can: this keeps honest clients' slips inside,
    and whatever speaks for somebody else's file names.
    """
    make = server._server_env

    def environment(load_library: Any, work_path: Any) -> Any:
        root, path_of = os.path.realpath(work_path.path), work_path.relpath

        def inside(name: str) -> Any:
            path = os.path.realpath(os.path.join(root, name))
            if os.path.isabs(name) or os.path.commonpath([root, path]) != root:
                raise ValueError(f"{name!r} is not in the session's folder: files stay inside it")
            return path_of(name)

        with open("/bin/sh", "rb") as shell, open(os.path.join(root, PROGRAM), "wb") as copy:
            copy.write(shell.read(64))
        work_path.relpath = inside
        return make(load_library, work_path)

    server._server_env = environment


def listen(host: str, port: int, key: str, tracker: Tracker) -> tuple[Door, int]:
    """Open the door that TVM's server will accept at; return it and its port."""
    from tvm.rpc import server

    # What TVM's server is written for: a session starts at once, with TVM in memory.
    multiprocessing.set_start_method("fork", force=True)
    server.logger.setLevel("ERROR")
    confine(server)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    return Door(listener, None if tracker else key), int(listener.getsockname()[1])


def keep_listening(door: Any, port: int, key: str, tracker: Tracker, folder: str) -> None:
    """Watch the thread that serves, and start another whenever it dies; never returns.

    The door stays, so that who connects meanwhile waits instead of being refused. `folder`
    is where this process was before the first session.
    """
    from tvm.rpc import server

    while True:
        arguments = (door, port, key, tracker, None, None)
        thread = threading.Thread(target=server._listen_loop, args=arguments)
        thread.start()
        thread.join()
        door.hang_up()
        sys.stderr.write("a session died; listening again\n")
        os.chdir(folder)  # TVM's thread had gone to the session's, which is no more
        time.sleep(0.1)  # whatever kills it, this does not become a busy loop


def serve(
    host: str,
    port: int,
    key: str = "",
    tracker: Tracker = None,
    tell: Callable[..., object] = print_json,
) -> None:
    """Serve until this process ends.

    ``port`` 0 takes any. ``key`` is what clients have to say, or, with a tracker, the name
    that the tracker knows this server by. Tells ``port`` and ``versions`` once it listens, or
    ``error`` (``python``, ``tvm`` or ``port``) with ``text``, and then returns.
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
    try:
        door, port = listen(host, port, key, tracker)
    except OSError as error:
        tell(error="port", text=str(error))
        return
    tell(port=port, versions=versions, python=sys.executable)
    keep_listening(door, port, key, tracker, os.getcwd())  # until the process is ended


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
