"""Putting an exported file to use: photos in, probabilities out."""
