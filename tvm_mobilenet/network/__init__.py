"""What will run: a model's layers as calls of kernels, planned as plain data.

Batch norm and epilogues, which layers share a kernel, layouts, knobs, prefetches and storage are
decided here, once, on a ``Model``: without TVM, and before there is any code. Emitters turn a
``NetworkPlan`` into Relax or Relay, ``explain`` prints it.
"""
