"""The classic schedules for graphics processors: those of ``schedules.gpu``, said with TE."""
