"""Which boards measure: found by their address, and refused where they do not run the target."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_mobilenet.device import Description, Device, open_device
from tvm_mobilenet.device.address import parse_address
from tvm_mobilenet.device.connection import TIMEOUT_S
from tvm_mobilenet.errors import DeviceError, TuningError
from tvm_mobilenet.machine import TargetSpec

MOST_BOARDS = 32
"""That measure at a time."""


@dataclass(frozen=True, slots=True)
class BoardPool:
    """Boards of one kind, or one, that measure instead of this machine.

    Attributes
    ----------
    address : str
        As :func:`tvm_mobilenet.device.open_device` takes it.
    machine : str
        What the boards there are.
    emulated : bool
        Whether their times mean nothing.
    count : int
        How many answer to the address.
    """

    address: str
    machine: str
    emulated: bool
    count: int

    @property
    def has_many(self) -> bool:
        """Whether another board can be asked for, instead of one that fails."""
        return parse_address(self.address).kind == "tracker"


def find_pool(address: str, limit: float = TIMEOUT_S) -> tuple[BoardPool, Description]:
    """Ask a device what it is, and how many of it there are.

    Parameters
    ----------
    address : str
        As :func:`tvm_mobilenet.device.open_device` takes it.
    limit : float
        How long an answer may take, seconds.
    """
    with open_device(address, limit) as device:
        count = device.free()  # before the one that is asked is busy
        board = _first(device)
    board.check_versions()
    return BoardPool(address, board.machine, board.emulated, min(max(count, 1), MOST_BOARDS)), board


def _first(device: Device) -> Description:
    """Describe the first board that answers."""
    lost: list[str] = []
    first: DeviceError | None = None
    while True:
        try:
            return device.describe()
        except DeviceError as error:
            first = first or error
            nowhere = device.where == device.address.text or device.where in lost
            if nowhere or device.address.kind != "tracker":
                raise first from error
            lost.append(device.where)
            device.avoid(lost)


def check_board(target: TargetSpec, board: Description) -> None:
    """Refuse a target that a board cannot run."""
    missing = sorted(set(target.needs) - set(board.features))
    if target.machine != board.target.machine:
        lacks = f"that is {board.target.machine}"
    elif missing:
        lacks = f"it lacks {', '.join(missing)}"
    elif target.cores > board.target.cores:
        lacks = f"it is planned for {target.cores} cores, and there are {board.target.cores}"
    else:
        return
    raise TuningError(
        f"{target.name} cannot be measured on {board.where}: {lacks}",
        "give another --target or --cores; native is what the board is",
    )
