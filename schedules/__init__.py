"""How each operator runs: TensorIR schedules with named knobs, one folder per machine family."""
