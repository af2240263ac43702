"""Kernels on maps of bfloat16, with sums of float32."""
