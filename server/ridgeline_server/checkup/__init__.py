"""Looks a deployment over before it serves: what is wrong with it, and what helps."""
