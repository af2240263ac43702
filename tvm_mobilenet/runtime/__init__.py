"""Loads and runs artifacts: with NumPy alone, or with TVM's runtime library where one needs it.

In the order of a file's life: `private` (the copy that runs), `artifact` (its manifest), `checks`
(whether it runs here), `loading` (which loader it has), `library` (what is loaded is shared, and
unloaded), `threads` and `inputs` (what a call needs), `instrument` and `kernels` (a look inside),
`recipe` and `preprocess` (from photographs to tensors).

A loader is a class of `loaded`'s: `module` for the C interface (`native_library`,
`native_kernels`), `vm` for TVM's virtual machine (`tvm_library` loads that), `cuda` for one with a
GPU (`gpu` says whether that is here), `classic` for TVM 0.19's graph executor, `opencl` for
launches (`opencl_device`, `opencl_launches`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_mobilenet.common.lazily import export

if TYPE_CHECKING:
    from tvm_mobilenet.runtime.artifact import read_manifest
    from tvm_mobilenet.runtime.instrument import Profile, Trace
    from tvm_mobilenet.runtime.loaded import Loaded
    from tvm_mobilenet.runtime.loading import check_here, load
    from tvm_mobilenet.runtime.preprocess import class_names, load_image
    from tvm_mobilenet.runtime.recipe import default_preprocess, preprocess_for

__all__ = [
    "Loaded",
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
    "Loaded": "loaded",
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
