"""A process between TVM's RPC client and a board: it makes sure that no call hangs.

TVM's client waits for an answer for ever, inside C++ and at times with Python's
global lock held (when a remote object is freed), so that nothing in its own process
could end the wait. This process passes the bytes on. When the board owes an answer
for longer than it was given, or is gone, it closes both sides and the client's call
fails at once.

Run as a script with the standard library alone: ``relay.py BOARD_FD CONTROL_FD``. On
the control socket it is told a name that the client has to know, a line, answers
with its port on loopback, is told how many seconds an answer may take, a line each
time, and says at last why it ended: ``lost`` or ``late``. When its owner is gone, so
that the control socket closes, it ends too.
"""

from __future__ import annotations

import hmac
import selectors
import signal
import socket
import struct
import sys
import time
from collections import deque

MAGIC = 0xFF271
"""TVM's: first of what client and server say (tvm/rpc/base.py)."""

_CHUNK = 1 << 18


class EndedError(Exception):
    """One of the three went away, or the time ran out."""


def receive(sock: socket.socket, size: int) -> bytes:
    """Read exactly `size` bytes."""
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise EndedError("lost")
        data += part
    return data


def accept_client(listener: socket.socket, name: bytes) -> socket.socket:
    """Take the connection that knows `name`; others on this machine do not."""
    while True:
        client, _ = listener.accept()
        client.settimeout(5)
        try:
            magic, size = struct.unpack("<ii", receive(client, 8))
            said = receive(client, size) if magic == MAGIC and 0 <= size < 256 else b""
        except (OSError, EndedError):
            client.close()
            continue
        if hmac.compare_digest(said, b"client:" + name):
            reply = b"server:relay"
            client.sendall(struct.pack("<ii", MAGIC, len(reply)) + reply)
            return client
        client.close()


class Answers:
    """Follows the packets of an answer: eight bytes of length, then as many."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0

    def take(self, data: bytes) -> bool:
        """Count what arrived; return whether it ends with a whole packet."""
        while data:
            if self._left:
                taken = min(self._left, len(data))
                self._left -= taken
                data = data[taken:]
            else:
                missing = 8 - len(self._head)
                self._head, data = self._head + data[:missing], data[missing:]
                if len(self._head) == 8:
                    self._left, self._head = struct.unpack("<Q", self._head)[0], b""
        return not (self._left or self._head)


class Relay:
    """Passes bytes on and watches the clock."""

    def __init__(
        self, client: socket.socket, board: socket.socket, control: socket.socket, told: bytes
    ) -> None:
        self._client, self._board, self._control = client, board, control
        self._limit = 60.0
        self._owed_since: float | None = None
        self._answers = Answers()
        self._told = told
        self._queues: dict[socket.socket, deque[bytes]] = {client: deque(), board: deque()}
        self._selector = selectors.DefaultSelector()
        for sock in (client, board, control):
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self) -> None:
        """Work until something ends; raises EndedError with the reason."""
        self._obey(b"")
        while True:
            wait = None
            if self._owed_since is not None:
                wait = self._owed_since + self._limit - time.monotonic()
                if wait <= 0:
                    raise EndedError("late")
            for key, events in self._selector.select(wait):
                if key.fileobj is self._control:
                    self._obey(receive_some(self._control, "owner"))
                elif key.fileobj is self._board:
                    self._serve(self._board, self._client, events)
                else:
                    self._serve(self._client, self._board, events)

    def _obey(self, data: bytes) -> None:
        *lines, self._told = (self._told + data).split(b"\n")
        for line in lines:
            self._limit = float(line)
            if self._owed_since is not None:
                self._owed_since = time.monotonic()

    def _serve(self, sock: socket.socket, other: socket.socket, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._send(sock)
        if not events & selectors.EVENT_READ:
            return
        data = receive_some(sock, "lost" if sock is self._board else "owner")
        if sock is self._board:
            self._owed_since = None if self._answers.take(data) else time.monotonic()
        else:
            self._owed_since = time.monotonic()
        self._queues[other].append(data)
        self._send(other)

    def _send(self, sock: socket.socket) -> None:
        queue = self._queues[sock]
        try:
            while queue:
                sent = sock.send(queue[0])
                if sock is self._board and self._owed_since is not None:
                    self._owed_since = time.monotonic()  # what it takes in, it is alive to
                queue[0] = queue[0][sent:]
                if not queue[0]:
                    queue.popleft()
        except BlockingIOError:
            pass  # the rest goes as soon as there is room
        except OSError as error:
            raise EndedError("lost" if sock is self._board else "owner") from error
        room = selectors.EVENT_WRITE if queue else 0
        self._selector.modify(sock, selectors.EVENT_READ | room)


def receive_some(sock: socket.socket, reason: str) -> bytes:
    """Read what there is; nothing, or an error, ends the work for `reason`."""
    try:
        data = sock.recv(_CHUNK)
    except OSError as error:
        raise EndedError(reason) from error
    if not data:
        raise EndedError(reason)
    return data


def main(board_fd: int, control_fd: int) -> None:
    """Serve one client; see the module."""
    # Ctrl-C is its owner's to deal with.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    board, control = socket.socket(fileno=board_fd), socket.socket(fileno=control_fd)
    told = b""
    while b"\n" not in told:
        told += receive_some(control, "owner")
    name, _, told = told.partition(b"\n")
    with socket.create_server(("127.0.0.1", 0), backlog=4) as listener:
        listener.settimeout(30)
        control.sendall(b"%d\n" % listener.getsockname()[1])
        client = accept_client(listener, name)
    try:
        Relay(client, board, control, told).run()
    except EndedError as reason:
        try:
            control.setblocking(True)
            control.sendall(str(reason).encode() + b"\n")
        except OSError:
            return  # the owner is gone: nobody to tell


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
