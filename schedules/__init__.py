"""How each operator runs: plans of its loops, and TensorIR and TE schedules that apply them.

Knows of the package ``operators``, ``target`` and ``errors`` alone. A function carries its workload
as an attribute, by which a schedule recognises it. ``plans`` imports no TVM.
"""
