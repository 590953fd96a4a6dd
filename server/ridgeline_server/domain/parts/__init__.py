"""How the parts of a model come out of a config: facts of a family and keys in, shapes and tensors out."""
