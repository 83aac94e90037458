"""Figures made of a classifier's answers, with numpy alone."""
