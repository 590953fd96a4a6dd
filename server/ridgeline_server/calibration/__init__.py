"""Predictions beside measurements: what a measured row asks, how far off the answer is, what corrects it."""
