"""Relay and Relax modules in standard operators, read as models.

``relay`` and ``relax`` read a function as a list of calls (``program``); ``nodes`` says each of
them in ONNX's operators, by one table for both (``elementwise``, ``shapes``, ``windows``,
``norms``).
What comes out goes the way of an ONNX file: :mod:`tvm_mobilenet.models.importer`.
"""
