"""Plans applied to definitions in TensorIR."""
