"""The operators of one step of a model on one device of a deployment, as coefficients of step variables."""
