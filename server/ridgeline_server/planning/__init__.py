"""Many questions at once: sweeps over models, devices, deployments and loads."""
