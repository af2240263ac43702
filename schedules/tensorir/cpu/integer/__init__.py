"""Kernels on elements of 8 bits: their loops are written, not made from a definition."""
