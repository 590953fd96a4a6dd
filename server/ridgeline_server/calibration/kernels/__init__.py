"""Kernel timings fitted: what each operator class counts, its constants, and the profiles made of them."""
