"""Loads and runs artifacts with TVM's runtime library alone.

In the order of a file's life: `private` (the copy that runs), `artifact` (its manifest), `checks`
(whether it runs here), `loading` (which loader its kind of container has), `library` (TVM's),
`threads` and `inputs` (what a call needs), `instrument` and `kernels` (a look inside), `recipe` and
`preprocess` (from photographs to tensors).

A loader is a class of `loaded`'s: `module` for the virtual machine, `cuda` for one with a GPU
(`gpu` says whether that is here), `classic` for TVM 0.19's graph executor, `opencl` for launches,
which need no TVM at all (`opencl_device`, `opencl_launches`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_mobilenet.common.lazily import export

if TYPE_CHECKING:
    from tvm_mobilenet.runtime.artifact import read_manifest
    from tvm_mobilenet.runtime.classic import ClassicModule
    from tvm_mobilenet.runtime.cuda import CudaModule
    from tvm_mobilenet.runtime.instrument import Profile, Trace
    from tvm_mobilenet.runtime.loading import Loaded, check_here, load
    from tvm_mobilenet.runtime.module import Module
    from tvm_mobilenet.runtime.opencl import OpenClModule
    from tvm_mobilenet.runtime.preprocess import class_names, load_image
    from tvm_mobilenet.runtime.recipe import default_preprocess, preprocess_for

__all__ = [
    "ClassicModule",
    "CudaModule",
    "Loaded",
    "Module",
    "OpenClModule",
    "Profile",
    "Trace",
    "check_here",
    "class_names",
    "default_preprocess",
    "load",
    "load_image",
    "preprocess_for",
    "read_manifest",
]

_HOMES = {
    "ClassicModule": "classic",
    "CudaModule": "cuda",
    "Loaded": "loading",
    "Module": "module",
    "OpenClModule": "opencl",
    "Profile": "instrument",
    "Trace": "instrument",
    "check_here": "loading",
    "class_names": "preprocess",
    "default_preprocess": "recipe",
    "load": "loading",
    "load_image": "preprocess",
    "preprocess_for": "recipe",
    "read_manifest": "artifact",
}
export(__name__, _HOMES)
