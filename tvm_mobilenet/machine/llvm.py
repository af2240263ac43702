"""What LLVM says of a processor. TVM is imported only when it is asked."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tvm_mobilenet.errors import TargetError, last_line
from tvm_mobilenet.machine.features import isa_of, needs_of, unchecked
from tvm_mobilenet.machine.spec import TargetSpec
from tvm_mobilenet.machine.triples import machine_of


def llvm_needs(triple: str, cpu: str, features: Sequence[str] = ()) -> tuple[str, ...]:
    """Ask LLVM which features code for a processor may use.

    Parameters
    ----------
    triple : str
        LLVM triple.
    cpu : str
        LLVM processor, or ``""`` for the baseline of the triple.
    features : sequence of str
        Switches such as ``"+dotprod"`` or ``"-avx512f"``.

    Returns
    -------
    tuple of str
        Sorted, in the kernel's spelling.

    Raises
    ------
    TargetError
        LLVM does not build for the architecture, or knows no such processor
        or feature; no processor could be checked for a feature.
    """
    codegen = _codegen()
    machine = machine_of(triple)
    if machine not in {str(t) for t in codegen.llvm_get_targets()}:
        raise TargetError(
            f"the LLVM inside TVM does not build for {machine}",
            "run `tvm-mobilenet targets` for those it builds",
        )
    _check_cpu(codegen, triple, cpu)
    for switch in features:
        # LLVM ignores a feature it does not know; switching it on must show.
        if switch[1:] not in _on(codegen, triple, cpu, ["+" + switch[1:]]):
            raise TargetError(
                f"LLVM knows no feature {switch[1:]!r} for {triple}",
                "spell it as LLVM does, e.g. +dotprod, +avx512vnni, -avx512f",
            )
    on = _on(codegen, triple, cpu, features)
    if extensions := unchecked(machine, on):
        raise TargetError(
            f"code for {cpu or triple} may use {', '.join(extensions)}, and nothing tells whether "
            "a processor has them",
            "leave them out; rv64gcv has V, the one extension that is looked for before code runs",
        )
    return needs_of(machine, on)


@contextmanager
def generating(spec: TargetSpec) -> Iterator[None]:
    """Say by name that LLVM refused a target, while code is generated.

    Raises
    ------
    TargetError
        It cannot generate code for `spec`. Other errors of TVM's pass.
    """
    try:
        yield
    # RuntimeError: TVM 0.27 has no exception that all of its own are, TVM 0.19 has TVMError.
    except RuntimeError as error:
        if "LLVM" in str(error) and "target" in str(error).lower():
            raise TargetError(
                f"LLVM cannot generate code for {spec.name}: {last_line(error)}",
                "check the triple, --mcpu and --mattr",
            ) from error
        raise


def validate_with_llvm(spec: TargetSpec) -> None:
    """Check a description against the LLVM that will compile for it.

    Raises
    ------
    TargetError
        LLVM does not know the processor or a feature, or would emit
        instructions that `spec` does not declare, or lacks the vector
        instructions that `spec` promises to the schedules.
    """
    needs = llvm_needs(spec.triple, spec.cpu, spec.features)
    if undeclared := sorted(set(needs) - set(spec.needs)):
        raise TargetError(
            f"target {spec.name!r} does not declare features that LLVM may use for "
            f"{spec.cpu or 'the baseline'}: {', '.join(undeclared)}",
            "let tvm_mobilenet.machine.parse describe it",
        )
    if spec.gpu is not None:
        return
    vectors = (spec.isa, spec.lanes, spec.registers, spec.fma)
    if vectors != isa_of(spec.machine, needs):
        raise TargetError(
            f"target {spec.name!r} declares {vectors}, LLVM has {isa_of(spec.machine, needs)} "
            "(isa, lanes, registers, fma)",
            "let tvm_mobilenet.machine.parse describe it",
        )


def _codegen() -> Any:
    try:
        from tvm.target import codegen

        codegen.llvm_version_major()
    except (ImportError, AttributeError, ValueError, RuntimeError) as error:
        raise TargetError(
            f"TVM's compiler is needed to look up this processor and is not there: {error}",
            "use a preset (`tvm-mobilenet targets`), or install apache-tvm and unset "
            "TVM_USE_RUNTIME_LIB",
        ) from error
    return codegen


def _target(triple: str, cpu: str, features: Sequence[str]) -> Any:
    from tvm.target import Target

    options: dict[str, Any] = {"kind": "llvm", "mtriple": triple}
    if cpu:
        options["mcpu"] = cpu
    if features:
        options["mattr"] = list(features)
    return Target(options)


def _on(codegen: Any, triple: str, cpu: str, features: Sequence[str]) -> set[str]:
    return {str(f) for f in codegen.llvm_get_cpu_features(_target(triple, cpu, features))}


def _check_cpu(codegen: Any, triple: str, cpu: str) -> None:
    known = [str(c) for c in codegen.llvm_get_cpu_archlist(_target(triple, "", ()))]
    if not cpu or cpu in known:
        return
    near = difflib.get_close_matches(cpu, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it knows {', '.join(known[:12])}, …"
    raise TargetError(f"LLVM knows no processor {cpu!r} for {triple}", hint)
