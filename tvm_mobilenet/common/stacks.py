"""The two stacks, and which of them this environment has.

Relax lives in apache-tvm, Relay in TVM 0.19; both call their package ``tvm``, so an
environment has one or the other (docs/adr/0018-classic-stack.md).
"""

from __future__ import annotations

from typing import Literal

from tvm_mobilenet.errors import StackError

Stack = Literal["relax", "relay"]

PACKAGES: dict[Stack, dict[str, str]] = {
    "relax": {"apache-tvm": "tvm", "apache-tvm-ffi": "tvm_ffi"},
    "relay": {"xtc-tvm-python-bindings": "tvm"},
}
"""Packages that a stack needs, and what a manifest calls their versions."""

# Relax bytecode and its builtins may change with every release of TVM, and so may the graph
# executor's; the C ABI of tvm_ffi is stable within a minor version. Post-releases change
# packaging only.
SIGNIFICANT = {"apache-tvm": 3, "apache-tvm-ffi": 2, "xtc-tvm-python-bindings": 3}
"""How many parts of a package's version must be the same in whatever works together."""

REMEDY: dict[Stack, str] = {
    "relax": "leave `--stack relay` out, or use an environment with apache-tvm",
    "relay": "use `tvm-mobilenet --stack relay`, after `make relay`",
}
"""How to get at a stack."""


def installed_stack() -> Stack:
    """Return the stack of this environment: Relay where there is no apache-tvm but TVM 0.19."""
    return "relay" if _has("relay") and not _has("relax") else "relax"


def check_stack(stack: str, what: str) -> Stack:
    """Refuse what needs the other stack.

    Parameters
    ----------
    stack : str
        The one that is needed.
    what : str
        What needs it; begins a sentence.

    Raises
    ------
    StackError
        It is not the one of this environment, or there is no such stack.
    """
    if stack not in PACKAGES:
        raise StackError(
            f"{what} needs the stack {stack!r}, which is unknown", f"known: {', '.join(PACKAGES)}"
        )
    wanted: Stack = "relay" if stack == "relay" else "relax"
    here = installed_stack()
    if wanted != here:
        raise StackError(
            f"{what} needs {_tvm(wanted)} (stack {wanted!r}), and here is {_tvm(here)}",
            REMEDY[wanted],
        )
    return wanted


def versions_of(stack: Stack) -> dict[str, str]:
    """Return the versions of a stack's packages by name; those that are missing left out."""
    found = {package: _version(package) for package in PACKAGES[stack]}
    return {package: version for package, version in found.items() if version is not None}


def _tvm(stack: Stack) -> str:
    return "TVM 0.19" if stack == "relay" else "apache-tvm"


def _has(stack: Stack) -> bool:
    return len(versions_of(stack)) == len(PACKAGES[stack])


def _version(package: str) -> str | None:
    from importlib import metadata  # which takes as long to import as all the rest of a start

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
