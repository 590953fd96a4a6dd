"""What those who run the service see of it: the ids of calls, logs, metrics and traces."""
