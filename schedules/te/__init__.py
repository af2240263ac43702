"""The classic schedules: TE stages over the same definitions, with the same knobs and rules.

For TVM 0.19, the last release that has ``te.create_schedule``; imported nowhere else. What to
choose, and by which rule, is that of :mod:`tvm_mobilenet.schedules.tensorir.cpu`.
"""
