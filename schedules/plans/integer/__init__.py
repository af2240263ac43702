"""How the loops of operators on elements of 8 bits are cut."""
