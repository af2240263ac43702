"""A folder as a tuning run leaves it, made up: nothing is compiled, every number is known."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tvm_mobilenet.tuning.log import append
from tvm_mobilenet.tuning.runs import RUNS, Network, Part, Roofs, Spent
from tvm_mobilenet.tuning.store import HISTORY
from tvm_mobilenet.tuning.trials import OUTCOMES, Final, Trial

TARGET = "x86_64_znver5_l1-48k_l2-1024k"
MODEL = "MobileNet V1 0.25/96"
CONTROL = 0.003
OPERATIONS = 600_000_000  # 200 GFLOP/s
RULE: dict[str, int | str] = {"pixels": 7, "order": "mn"}
OTHER: dict[str, int | str] = {"pixels": 4, "order": "mn"}

# Workload: calls, multiply-adds, bytes, seconds by rule.
KERNELS = {
    "conv_n1_i3_o8_s96x96": (1, 500_000, 150_000, 6e-6),
    "depthwise_n1_i64_o64_s12x12": (3, 83_000, 80_000, 2e-6),
    "pointwise_n1_i64_o64_s12x12": (5, 590_000, 95_000, 7e-6),
    "softmax_n1_i10_o10": (1, 0, 80, 1e-7),
}
POINTWISE = "pointwise_n1_i64_o64_s12x12"
NOTE = "<script>document.title = 'taken'</script> & so on"


def trial(workload: str, **changes: Any) -> Trial:
    fields: dict[str, Any] = {
        "operator": workload.partition("_")[0], "workload": workload, "target": TARGET,
        "threads": 1, "tuner": "template", "knobs": RULE, "outcome": "ok", "control": CONTROL,
        "repeats": 50, "spread": 0.01, "error": 1e-7, "machine": "a desk, <fast>",
        "date": "2026-01-02T03:04:05+00:00", "tvm": "0.27.0",
    }  # fmt: skip
    return Trial(**{**fields, **changes})


def network(**changes: Any) -> Network:
    parts = {
        key: Part(calls, tuple(f"layer{n}" for n in range(calls)), macs, moved, RULE)
        for key, (calls, macs, moved, _) in KERNELS.items()
    }
    fields: dict[str, Any] = {
        "model": MODEL, "target": TARGET, "threads": 1, "operations": OPERATIONS, "parts": parts,
    }  # fmt: skip
    return Network(**{**fields, **changes})


def fill(folder: Path, threads: int = 1, trials: int = 60) -> None:
    """Write a whole run: rules first, then candidates, failures of every kind, two finals."""
    rng = random.Random(threads)
    about = folder / RUNS
    append(about, network(threads=threads, operations=OPERATIONS * threads))
    history = folder / HISTORY
    for key, (*_, seconds) in KERNELS.items():
        append(history, trial(key, seconds=seconds / threads, threads=threads))
    for number in range(len(KERNELS), trials):
        key = rng.choice(list(KERNELS))
        knobs = {"pixels": number, "order": "nm"}
        fields: dict[str, Any] = {"knobs": knobs, "threads": threads}
        fields["date"] = f"2026-01-02T04:{number % 60:02d}:00+00:00"
        if number % 6 == 0:
            kind = OUTCOMES[1 + number // 6 % 5]
            append(history, trial(key, outcome=kind, control=None, note=NOTE, **fields))
        else:
            seconds = KERNELS[key][3] / threads * rng.uniform(0.93, 1.6)
            append(history, trial(key, seconds=seconds, control=CONTROL * 1.01, **fields))
    for key, seconds, chosen in (
        (POINTWISE, [7e-6, 6.5e-6], 1),
        ("conv_n1_i3_o8_s96x96", [6e-6, 5.99e-6], 0),
    ):
        final = Final(
            workload=key, target=TARGET, threads=threads, candidates=[RULE, OTHER],
            seconds=[s / threads for s in seconds], chosen=chosen,
        )  # fmt: skip
        append(history, final)
    for done in (trials // 2, trials):
        spent = Spent(
            run="2026-01-02T03:04:00+00:00 process 17", model=MODEL, target=TARGET,
            threads=threads, trials=done, seconds=2.0 * done, building_s=0.8 * done,
            measuring_s=0.9 * done,
        )  # fmt: skip
        append(about, spent)
    append(about, Roofs(target=TARGET, threads=threads, bandwidth={"L2": 200.0, "memory": 40.0}))


def damage(folder: Path) -> None:
    """Add lines that nobody understands: garbage, half a line, another version, wrong values."""
    whole = trial(POINTWISE, seconds=1e-9).to_line()
    lines = (
        b"\x00\xff garbage",
        whole[: len(whole) // 2],
        whole.replace(b'"version": 1', b'"version": 99'),
        whole.replace(b'"threads": 1', b'"threads": [1]'),
        whole.replace(b'"seconds": 1e-09', b'"seconds": NaN'),
    )
    with (folder / HISTORY).open("ab") as file:
        file.writelines(line + b"\n" for line in lines)
    with (folder / RUNS).open("ab") as file:
        file.write(b'{"version": 1, "kind": "network", "model": "x", "parts": {"a": 3}}\n')
