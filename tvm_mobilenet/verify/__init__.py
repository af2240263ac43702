"""Whether an artifact computes what it should: kernel by kernel, against the reference."""
