"""Loads and runs artifacts with TVM's runtime library alone.

In the order of a file's life: `artifact` (the file and its manifest), `private` (the copy
that runs), `library` (TVM's), `threads` and `inputs` (what a call needs), `instrument` and
`kernels` (a look inside), `module` (the callable), `recipe` and `preprocess` (from photographs to
tensors). OpenCL needs no TVM at all: `opencl_device`, `opencl_launches`, `opencl`. Of CUDA
`gpu` says whether it runs here, `cuda` runs it.
"""

from tvm_mobilenet.runtime.artifact import check_here, read_manifest
from tvm_mobilenet.runtime.classic import ClassicModule
from tvm_mobilenet.runtime.cuda import CudaModule
from tvm_mobilenet.runtime.instrument import Profile, Trace
from tvm_mobilenet.runtime.module import Module, load
from tvm_mobilenet.runtime.opencl import OpenClModule
from tvm_mobilenet.runtime.preprocess import class_names, load_image
from tvm_mobilenet.runtime.recipe import default_preprocess, preprocess_for

Loaded = Module | OpenClModule | CudaModule | ClassicModule
"""What :func:`load` returns."""

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
