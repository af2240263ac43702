"""The classic stack: a network in Relay on TVM 0.19, its kernels our own TE schedules.

In the order of a network's life: `build` (Model → Relay), `match` (what is one kernel),
`lower` (calls of our operators on blocked maps), `operators` (those operators, as Relay
knows them, and the strategy by which it schedules them), `codegen` (one ``.so``). What runs it is
:mod:`tvm_mobilenet.runtime.classic`. All of it needs the environment that ``make relay`` makes.
"""
