"""How good an artifact is on images: accuracy, and agreement with another network."""
