"""What reading any config.json takes: typed look-ups, known keys, wrappers, number formats."""
