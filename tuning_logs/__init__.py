"""Tuning records, one folder per target. See README.md for the format."""
