"""From what a user writes after ``--target`` to a :class:`TargetSpec`."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import logging
import re
import shlex

from tvm_mobilenet.common.limits import MOST_CORES
from tvm_mobilenet.common.lists import check_one_of
from tvm_mobilenet.errors import GpuError, TargetError
from tvm_mobilenet.machine.arithmetic import Dtype
from tvm_mobilenet.machine.arm_cores import ALIASES
from tvm_mobilenet.machine.driver import find_gpu, spec_of
from tvm_mobilenet.machine.features import CPU_NEEDS, isa_of
from tvm_mobilenet.machine.gpu import GPUS, STORED, GpuSpec
from tvm_mobilenet.machine.host import host_machine
from tvm_mobilenet.machine.llvm import llvm_needs
from tvm_mobilenet.machine.presets import (
    BASELINES,
    PRESETS,
    RISCV64_BASELINE,
    RISCV64_VECTORS,
    describe_cpu,
    nearest_preset,
)
from tvm_mobilenet.machine.spec import TargetSpec
from tvm_mobilenet.machine.this_machine import host as this_machine
from tvm_mobilenet.machine.triples import machine_of
from tvm_mobilenet.machine.tvm_json import HERE, OTHER_KINDS, from_json, unsupported_kind

_log = logging.getLogger(__name__)

_LIST = "run `tvm-mobilenet targets` for the list"
_TRIPLE = re.compile(r"[a-z][a-z0-9_]*(-[a-z0-9_]+){1,3}")
_SYSTEMS = ("linux", "darwin", "macos", "windows", "android", "freebsd", "none", "wasi")


def parse(
    text: str,
    *,
    mcpu: str | None = None,
    mattr: str | None = None,
    cores: int | None = None,
    host: str | None = None,
    dtype: Dtype | None = None,
) -> TargetSpec:
    """Understand a target.

    Parameters
    ----------
    text : str
        ``"native"``, a preset, a triple with options
        (``"aarch64-linux-gnu --mcpu=cortex-a72 --mattr=+dotprod"``), TVM's
        JSON (``'{"kind": "llvm", "mtriple": "aarch64-linux-gnu"}'``), or a GPU:
        ``"sm_90"``, ``"opencl"``, ``"metal"`` and the others of :data:`GPUS`; ``"cuda"`` is
        the one of this machine.
    mcpu : str, optional
        LLVM processor, instead of the one in `text`.
    mattr : str, optional
        LLVM feature switches, separated by commas, added to those in `text`.
    cores : int, optional
        Cores that the compiled code may use, instead of the target's own.
    host : str, optional
        The processor that a GPU's host code is for, itself a target. By default the
        baseline of this machine's architecture, so that the file runs on others of it.
    dtype : {"float32", "float16", "bfloat16"}, optional
        What maps and weights are stored as: float16 by GPUs and ARM's processors, bfloat16 by
        processors that multiply it.

    Returns
    -------
    TargetSpec
        Its caches are those of the preset that has the same processor, else of the core
        where it is ARM's and known, else the modest ones of its architecture: then a
        warning, on the logger ``tvm_mobilenet``, says what was assumed.

    Raises
    ------
    TargetError
        The target, its processor or a feature is unknown, malformed, or not
        supported yet.
    """
    if not isinstance(text, str):
        raise TargetError(f"{text!r} is no target", _LIST)
    if dtype is not None:
        check_one_of(dtype, (*STORED, "bfloat16"), "dtype", TargetError)
    text = text.strip()
    if text in GPUS or text == HERE:
        processor = parse(host or BASELINES[host_machine()], mcpu=mcpu, mattr=mattr, cores=cores)
        if processor.gpu is not None:
            raise TargetError(f"host {host!r} is a GPU", "name the processor beside it")
        name, gpu = _gpu_here() if text == HERE else (text, GPUS[text])
        return processor.on_gpu(name, gpu, dtype or "float32")
    if host is not None:
        raise TargetError(
            f"target {text!r} is no GPU: it takes no host",
            "leave --host out, or name a GPU such as sm_90 or opencl",
        )
    if text.startswith("{"):
        base, options = from_json(text)
    else:
        base, options = _from_words(text)
    cpu = mcpu if mcpu is not None else options.get("mcpu")
    switches = (*_switches(options.get("mattr", "")), *_switches(mattr or ""))
    count = _cores(cores if cores is not None else options.get("cores"))
    spec = _resolve(base, cpu, switches).storing(dtype or "float32")
    return spec if count is None else dataclasses.replace(spec, cores=count)


def _gpu_here() -> tuple[str, GpuSpec]:
    try:
        return spec_of(find_gpu())
    except GpuError as error:
        raise TargetError(
            f"target {HERE!r} is the GPU of this machine: {error.what}",
            "name an architecture: " + ", ".join(n for n in GPUS if n.startswith("sm_")),
        ) from error


def _resolve(base: str, cpu: str | None, switches: tuple[str, ...]) -> TargetSpec:
    cpu = None if cpu is None else ALIASES.get(cpu, cpu)
    if base == "native" or base in PRESETS:
        spec = this_machine() if base == "native" else PRESETS[base]
        if not switches and cpu in (None, spec.cpu):
            return spec
        # The machine keeps its name and caches, whatever code it is given.
        if cpu in (None, spec.cpu):
            switches = (*spec.features, *switches)
        chosen = _describe(base, spec.triple, spec.cpu if cpu is None else cpu, switches)
        return dataclasses.replace(
            chosen,
            l1_bytes=spec.l1_bytes,
            l2_bytes=spec.l2_bytes,
            l3_bytes=spec.l3_bytes,
            cores=spec.cores,
        )
    spec = _describe(base, base, cpu or "", switches)
    if cpu and (spec.machine, cpu) not in CPU_NEEDS:
        _tell_assumed(spec)
    return spec


@functools.cache
def _tell_assumed(spec: TargetSpec) -> None:
    """Say, once, what a processor's caches and cores were taken for."""
    said = spec.describe()
    _log.warning(
        "no table has the caches of %s: L1d %s, L2 %s, L3 %s and %s cores are assumed, as of %s. "
        "A preset before --mcpu says others: --target PRESET --mcpu %s",
        *(spec.cpu, said["L1d"], said["L2"], said["L3"], spec.cores),
        *(nearest_preset(spec.machine, spec.cpu, spec.needs).name, spec.cpu),
    )


def _describe(name: str, triple: str, cpu: str, switches: tuple[str, ...]) -> TargetSpec:
    machine = machine_of(triple)
    if machine == "riscv64" and "+v" in switches:
        switches = (*(s for s in switches if s != "+v"), *RISCV64_VECTORS)
    if machine == "x86_64" and not cpu:
        cpu = "x86-64"  # a name for LLVM's baseline, so that reports can show it
    if triple.startswith("arm-"):
        # Debian's name for its ARMv7 port; LLVM reads it as ARMv4 without float registers.
        triple = triple.replace("arm-", "armv7l-", 1)
    listed = CPU_NEEDS.get((machine, cpu)) if not switches else None
    if listed is not None:
        near = nearest_preset(machine, cpu, listed)
        caches = (near.l1_bytes, near.l2_bytes, near.l3_bytes)
        return describe_cpu(name, triple, cpu, caches, near.cores)
    usual: tuple[str, ...] = ()
    if (machine, cpu) in CPU_NEEDS:  # what the tables switch for it still holds
        usual = describe_cpu(name, triple, cpu, (0, 0, 0), 1).features
    elif machine == "riscv64":
        usual = RISCV64_BASELINE
    features = (*(f for f in usual if f not in switches), *switches)
    needs = llvm_needs(triple, cpu, features)
    near = nearest_preset(machine, cpu, needs)
    isa, lanes, registers, fma = isa_of(machine, needs)
    return TargetSpec(
        name=name,
        triple=triple,
        cpu=cpu,
        features=features,
        isa=isa,
        lanes=lanes,
        registers=registers,
        fma=fma,
        l1_bytes=near.l1_bytes,
        l2_bytes=near.l2_bytes,
        l3_bytes=near.l3_bytes,
        cores=near.cores,
        needs=needs,
    )


def _from_words(text: str) -> tuple[str, dict[str, str]]:
    try:
        first, *rest = shlex.split(text)
    except ValueError:
        raise TargetError(f"target {text!r} is empty or has an open quote", _LIST) from None
    options: dict[str, str] = {}
    words = iter(rest)
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        key = {"num-cores": "cores"}.get(name, name)
        if not word.startswith("-") or key not in ("mcpu", "mattr", "cores"):
            raise TargetError(
                f"target {text!r}: {word!r} is not an option of a target",
                "a triple takes --mcpu=CPU, --mattr=+FEATURE,-FEATURE and --cores=N",
            )
        value = value if equals else next(words, "")
        if not value:
            raise TargetError(f"target {text!r}: {word!r} has no value", f"write --{name}=VALUE")
        options[key] = value
    return _known_base(first), options


def _known_base(word: str) -> str:
    if word == "native" or word in PRESETS:
        return word
    if _TRIPLE.fullmatch(word) and set(word.split("-")[1:]) & set(_SYSTEMS):
        machine_of(word)
        return word
    if word in GPUS:
        raise TargetError(
            f"{word!r} takes no options in the text of a target",
            "give --host and --dtype beside --target",
        )
    if word in OTHER_KINDS:
        raise unsupported_kind(word)
    if word == "llvm":
        raise TargetError(
            "target 'llvm' does not say which processor",
            'use native, a preset, a triple, or JSON: {"kind": "llvm", "mcpu": "…"}',
        )
    same_cpu = [spec.name for spec in PRESETS.values() if spec.cpu == word]
    near = same_cpu or difflib.get_close_matches(word, ["native", *PRESETS, *GPUS], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise TargetError(f"unknown target {word!r}", hint + _LIST)


def _switches(text: str) -> tuple[str, ...]:
    switches = tuple(s for s in (part.strip() for part in text.split(",")) if s)
    for switch in switches:
        if not re.fullmatch(r"[+-][A-Za-z0-9][A-Za-z0-9._-]*", switch):
            raise TargetError(
                f"feature switch {switch!r} is malformed",
                "write + or - and LLVM's name of the feature, e.g. --mattr=+dotprod,-sve",
            )
    return switches


def _cores(value: object) -> int | None:
    if value is None:
        return None
    try:
        count = int(str(value))
    except ValueError:
        count = 0
    if not 1 <= count <= MOST_CORES:
        raise TargetError(f"cores is {value!r}", f"give a whole number from 1 to {MOST_CORES}")
    return count
