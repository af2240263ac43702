"""A session on a board, as its user has it: a connection that takes artifacts."""

from __future__ import annotations

import os

from tvm_mobilenet.device.connection import Connection
from tvm_mobilenet.device.description import describe
from tvm_mobilenet.device.module import RemoteModule
from tvm_mobilenet.errors import AbiError, InputError
from tvm_mobilenet.runtime.artifact import read_manifest
from tvm_mobilenet.runtime.checks import check_fits, check_libc, needs_tvm


class Session(Connection):
    """A process on a board that does what it is told, and dies alone if it crashes.

    From :meth:`tvm_mobilenet.device.Device.session`; close it, or use it in a ``with``
    statement. Use it from one thread at a time. After DeviceLostError or
    DeviceTimeoutError it is of no more use, but its device is: open another.
    """

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def artifact(self, path: str | os.PathLike[str], threads: int | None = None) -> RemoteModule:
        """Check an artifact against the board, upload it, load it.

        Parameters
        ----------
        path : path-like
            That ``compile`` wrote.
        threads : int, optional
            For one call; the board's cores without.

        Raises
        ------
        ArtifactError
            It is not for this board; nothing was uploaded.
        InputError
            It cannot run on so many threads.
        DeviceError
            The board does not answer, or failed.
        """
        path = os.path.abspath(path)
        manifest = read_manifest(path)
        board = describe(self)
        board.check_versions()
        machine, there = board.target.machine, self.where
        is_classic = manifest["stack"] == "relay"
        # What TVM runs needs its version; what has a C interface needs no more than the session.
        versions = board.versions if is_classic or self.stack == "relay" else None
        check_fits(manifest, machine, board.features, versions, where=path, board=there)
        if not is_classic and needs_tvm(manifest):
            raise AbiError(
                f"{path} has no C interface, by which boards run artifacts of the main stack",
                "compile it again, for a processor",
            )
        # TVM's server, which answered, is built for glibc.
        check_libc(manifest, "glibc", where=path, board=there)
        if threads is not None and threads < 1:
            raise InputError(f"threads is {threads!r}", "give a number of threads, 1 or more")
        kind = RemoteModule
        if is_classic:
            from tvm_mobilenet.device.classic import RemoteClassic

            kind = RemoteClassic
        return kind(self, path, manifest, board=board, threads=threads or board.target.cores)
