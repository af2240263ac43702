"""From a model to an artifact: options, the stack that compiles, and what comes of it."""
