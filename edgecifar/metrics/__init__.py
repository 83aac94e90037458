"""Figures of accuracy and latency, and their intervals. They need numpy only."""
