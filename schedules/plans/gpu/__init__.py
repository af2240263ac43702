"""How each operator is cut for a GPU: sizes, knobs and GPU in, a plan out. No TVM in here."""
