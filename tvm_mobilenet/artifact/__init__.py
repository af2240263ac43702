"""One file: kinds of container, what is embedded, who links it."""
