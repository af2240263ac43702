"""Post-training quantisation: a float network and some images become a quantised network."""
