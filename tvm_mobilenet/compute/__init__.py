"""What each operator computes: TE definitions on blocked layouts, no scheduling.

Only what both generations of ``tvm.te`` offer is used here, so that the Relax
stack and the classic Relay stack share one definition of every operator.
"""
