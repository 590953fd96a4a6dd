"""Measures this machine: attainable rates, bandwidth, launch costs. NumPy always, torch where it is there."""
