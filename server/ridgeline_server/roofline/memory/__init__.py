"""What a deployment takes of a device's memory, and how much of a load fits beside it."""
