"""The two stacks side by side: every way from a MobileNet to machine code here, in one table.

    make compare-stacks
    python benchmarks/stacks.py --networks v1 --threads 1 --keep DIR --rounds 8

Each way is compiled by one process and run by another, which keeps it open; those take turns of
0.4 s, all others stopped meanwhile. Tuned rows take what was measured on this kind of processor,
from the folders under ``tuning_logs/``: our records after AutoTVM (and of the main stack), Ansor's
own log after Ansor; without such records for nine of ten kernels there is no figure.
``--autotvm``, ``--ansor`` and ``--relax`` name others. With ``--keep`` what was compiled is used
again: prepare with ``--rounds 0``, measure when the machine is quiet.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tvm_mobilenet.machine import parse
from tvm_mobilenet.tuning.records import target_key

LOGS = Path(__file__).parent.parent.resolve() / "tuning_logs"
WORKER = Path(__file__).with_name("stacks_worker.py")
TURN_S = 0.4


class Row:
    """One way, open in a process of its own."""

    def __init__(self, title: str, command: list[str]) -> None:
        self.title = title
        self.times: list[float] = []
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.head: list[float] = self._answer()["head"]
        self._process.send_signal(signal.SIGSTOP)

    def turn(self) -> None:
        """Let it run alone for a while."""
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write(f"{TURN_S}\n")
        self._process.stdin.flush()
        self.times += self._answer()
        self._process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        """End its process."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:  # TVM 0.19 prints there as well
            if line.startswith(("{", "[")):
                return json.loads(line)
        raise SystemExit(f"{self.title}: its process ended")


def ways(options: argparse.Namespace) -> Iterator[tuple[str, str, str, str]]:
    """Yield title, kind, interpreter and records of every row."""
    classic, main = options.relay_python, sys.executable
    yield "Relay, TOPI's schedules, untuned", "topi", classic, "-"
    yield "Relay, our TE schedules, untuned", "relay", classic, "-"
    if options.autotvm:
        yield "Relay, our TE schedules after AutoTVM", "autotvm", classic, options.autotvm
    if options.ansor:
        yield "Relay, our definitions after Ansor", "ansor", classic, options.ansor
    yield "Relax, our schedules, untuned", "relax", main, "-"
    if options.relax:
        yield "Relax, our schedules, tuned", "relax-tuned", main, options.relax
    yield "ONNX Runtime", "onnxruntime", main, "-"
    yield "bound: multiply-adds at the peak", "bound", classic, "-"


def recorded() -> dict[str, str]:
    """Return what this repository has measured on this kind of processor."""
    target = parse("native")
    found = {"relax": LOGS} if (LOGS / target_key(target)).is_dir() else {}
    if (own := LOGS / f"{target_key(target)}_relay").is_dir():
        found["autotvm"] = LOGS
        if (own / "ansor.json").is_file():
            found["ansor"] = own / "ansor.json"
    return {name: str(path) for name, path in found.items()}


def compare(network: str, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Measure every way; return medians by title, ms."""
    rows: list[Row] = []
    try:
        for title, kind, python, records in ways(options):
            path = folder / f"{network}-{kind}-{options.threads}.so"
            command = [python, "-W", "ignore", str(WORKER), kind, network, records, str(path)]
            command.append(str(options.threads))
            if not path.exists():
                tuned = kind in ("autotvm", "ansor")
                subprocess.run([*command, "make"], check=not tuned, stdout=subprocess.DEVNULL)
            if path.exists() or kind == "bound":
                rows.append(Row(title, command))
        networks = [row.head for row in rows if not row.title.startswith("bound")]
        worst = max(abs(a - b) for head in networks for a, b in zip(head, networks[0], strict=True))
        if worst > 1e-3 * max(map(abs, networks[0])):
            raise SystemExit(f"{network}: the ways differ by {worst}")
        for at in range(options.rounds):
            for row in [*rows[at % len(rows) :], *rows[: at % len(rows)]]:
                row.turn()
        return {row.title: 1e3 * statistics.median(row.times) for row in rows if row.times}
    finally:
        for row in rows:
            row.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default="v1,v2,v3-large")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--keep", default="")
    parser.add_argument("--relay-python", default=".venv-relay/bin/python")
    known = recorded()
    for name in ("autotvm", "ansor", "relax"):
        parser.add_argument(f"--{name}", default=known.get(name, ""), metavar="DIR")
    options = parser.parse_args()
    options.relay_python = os.path.abspath(options.relay_python)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        names = options.networks.split(",")
        found = {name: compare(name, options, folder) for name in names}
    if not options.rounds:
        return
    print(f"Medians, ms, {options.threads} thread(s), 224 x 224, batch 1\n")
    print(f"| | {' | '.join(names)} |\n|---|{'---:|' * len(names)}")
    for title, *_ in ways(options):
        times = (f"{found[n][title]:.2f}" if title in found[n] else "–" for n in names)
        print(f"| {title} | {' | '.join(times)} |")


if __name__ == "__main__":
    main()
