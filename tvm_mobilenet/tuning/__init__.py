"""What was measured, kept for later: tuning records, and where compile finds them."""
