"""What a kernel will cost before it is compiled, and what follows from that for a network.

Knows workloads, the schedules' rules and the target; no graph, and no TVM: both stacks ask it
which layers share a kernel (`fusion`) and which kernels prefetch for later ones (`ahead`).
"""
