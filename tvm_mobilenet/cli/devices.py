"""``device``: servers, trackers, and and what a device is."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from tvm_mobilenet.cli.groups import grouped
from tvm_mobilenet.cli.options import Answer
from tvm_mobilenet.cli.output import say, show, waiting
from tvm_mobilenet.errors import DeviceError, InputError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Serve this machine to others, hand out boards, look at one.",
)

LOOPBACK = "127.0.0.1"
_RIGHTS = (
    "warning: who {who} runs code here as this user, and reads and writes this user's files; "
    "nothing is encrypted."
)
_NETWORK = " On a network that others use, stay on loopback and go through ssh://."

Listen = Annotated[
    str, typer.Option(help="Address to listen on, other than loopback.", metavar="ADDR")
]


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="Port; 0 takes any.", min=0, max=65535)] = 9090,
    listen: Listen = LOOPBACK,
    tracker: Annotated[
        str, typer.Option(help="Tracker to register with.", metavar="HOST:PORT")
    ] = "",
    key: Annotated[
        str | None,
        typer.Option(help="What a client has to say, or the name to register under."),
    ] = None,
    no_key: Annotated[bool, typer.Option("--no-key", help="Let everybody in.")] = False,
) -> None:
    """Serve this machine to others: TVM's RPC server.

    It is started again when a session crashes. A client has to know its key: a random
    one, which clients of the same user on this machine find by themselves, and others
    write behind the address, HOST:PORT/KEY.

    \b
    Examples:
      tvm-mobilenet device serve
      tvm-mobilenet device serve --tracker 127.0.0.1:9190 --key rpi4
    """
    from tvm_mobilenet.device.address import parse_address
    from tvm_mobilenet.device.keys import forget_key, new_key
    from tvm_mobilenet.device.serve import serve as run

    if key and no_key:
        raise InputError("--key and --no-key contradict each other", "leave one of them out")
    address = None
    if tracker:
        if not key:
            raise InputError("a tracker needs a key to register under", "give --key NAME")
        parsed = parse_address(tracker)
        address = (parsed.host, parsed.port)
        who = f"reaches this port and the tracker {tracker}"
    elif key is None and not no_key:
        key, who = new_key(), "knows its key"
    else:
        who = "knows its key" if key else "reaches this port"
    facts: dict[str, Any] = {}

    def tell(**told: Any) -> None:
        facts.update(told)
        if "port" in told:
            _warn(who, listen)
            found = "" if tracker or not key else _kept(listen, told["port"], key, facts)
            say(f"listening on {listen}:{told['port']};{found} stop with Ctrl-C")

    try:
        run(listen, port, key or "", address, tell)
    except KeyboardInterrupt:
        if "key_file" in facts:
            forget_key(facts["key_file"])
        _leave()
    raise DeviceError(f"the server did not start: {facts['text']}", "choose another --port")


@app.command()
def tracker(
    port: Annotated[int, typer.Option(help="Port.", min=1, max=65535)] = 9190,
    listen: Listen = LOOPBACK,
) -> None:
    """Hand out boards to clients: TVM's RPC tracker.

    \b
    Example:
      tvm-mobilenet device tracker --port 9190
    """
    os.environ.setdefault("TVM_USE_RUNTIME_LIB", "1")
    try:
        from tvm.rpc.tracker import PopenTrackerServerState
    except ImportError as error:
        raise DeviceError(
            f"TVM's tracker cannot be imported: {error}",
            "it needs tornado: pip install 'tvm-mobilenet[device]'",
        ) from error

    _warn("reaches this port and a board's", listen)
    # One block: the thread that listens outlives an interrupt anywhere in here.
    try:
        state = PopenTrackerServerState(listen, port, port + 1, silent=True)
        say(f"listening on {listen}:{state.port}; stop with Ctrl-C")
        state.thread.join()
    except KeyboardInterrupt:
        _leave()
    except (OSError, ValueError) as error:
        raise DeviceError(f"the tracker did not start: {error}", "choose another --port") from error


@app.command()
@grouped
def check(
    device: Annotated[
        str,
        typer.Argument(
            help="local, HOST:PORT, tracker://HOST:PORT/KEY or ssh://USER@HOST[:PORT].",
            metavar="DEVICE",
        ),
    ],
    timeout: Annotated[float, typer.Option(help="Seconds an answer may take.", min=0.1)] = 60.0,
    *,
    answer: Answer,
) -> None:
    """Say what a device is, and whether its TVM is the same as here.

    \b
    Examples:
      tvm-mobilenet device check ssh://pi@raspberrypi
      tvm-mobilenet device check tracker://127.0.0.1:9190/rpi4 --json
    """
    from tvm_mobilenet.common.tables import facts_table
    from tvm_mobilenet.device import open_device

    form = answer.form
    with waiting(f"asking {device}"), open_device(device, timeout) as opened:
        found = opened.describe()
    spec = found.target
    facts = {
        "triple": spec.triple,
        "processor": spec.cpu or "baseline",
        "cores": str(spec.cores),
        "caches": " ".join(f"{k} {v}" for k, v in spec.describe().items() if k[:1] == "L"),
        "features": " ".join(found.features),
        "TVM": " ".join(f"{k} {v or 'unknown'}" for k, v in found.versions.items()),
        "round trip": f"{found.round_trip_ms:.2f} ms",
        "compile with": f"--target {spec.triple}" + f" --mcpu {spec.cpu}" * bool(spec.cpu),
    }
    show(form, facts_table(found.where, facts), data=found.to_dict())
    found.check_versions()


def _warn(who: str, address: str) -> None:
    loopback = address in (LOOPBACK, "localhost", "::1")
    say(_RIGHTS.format(who=who) + _NETWORK * (not loopback), error=True)


def _kept(host: str, port: int, key: str, facts: dict[str, Any]) -> str:
    """Put a server's key where its user's clients find it, and say where."""
    from tvm_mobilenet.device.keys import keep_key

    try:
        facts["key_file"] = keep_key(host, port, key)
    except OSError as error:
        return f" its key is {key}, which no client finds by itself ({error.strerror});"
    return f" its key is in {facts['key_file']};"


def _leave() -> None:
    # TVM's threads never end, and Python would wait for them.
    sys.stdout.flush()
    os._exit(0)
