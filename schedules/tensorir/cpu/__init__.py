"""CPU schedules: one per operator, for every vector instruction set."""
