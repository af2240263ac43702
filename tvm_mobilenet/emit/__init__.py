"""The plan of a network as code: for Relax, and for Relay."""
