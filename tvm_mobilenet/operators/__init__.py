"""What an operator is at one size: its workload, and from a layer's shapes to it. No TVM in here.

Both stacks, the schedules, the cost model and the tuner ask here.
"""
