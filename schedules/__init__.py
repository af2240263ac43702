"""How each operator runs: TensorIR schedules with named knobs, one folder per machine family.

Imports nothing of the package but ``target`` and ``errors``: a schedule
recognises its function by an attribute and reads every size off its loops.
"""
