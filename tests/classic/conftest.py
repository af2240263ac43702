"""Tests of the classic stack: run by the interpreter of its environment, `make relay`."""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("tvm.relay") is None:
    collect_ignore_glob = ["test_*.py"]
