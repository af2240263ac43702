"""Schedules for graphics processors: CUDA, OpenCL and Metal."""
