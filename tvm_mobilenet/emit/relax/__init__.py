"""From a model to a scheduled Relax module: built, then rewritten in numbered phases."""
