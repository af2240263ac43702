"""Kernels on maps of 16 bits: bfloat16, and of ARM's processors float16."""
