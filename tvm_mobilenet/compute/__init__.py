"""What each operator computes: TE definitions on blocked layouts, no scheduling.

The definitions use only what both generations of ``tvm.te`` offer, so that the Relax
stack and the classic Relay stack share one definition of every operator.
"""
