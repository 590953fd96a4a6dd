"""What `ridgeline hardware` and `ridgeline models` share; `Kind` holds in what they differ."""
