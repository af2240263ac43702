"""The classic schedules for graphics processors: those of ``schedules.tensorir.gpu`` with TE."""
