"""Scores of pictures, shapes and layers, with the papers' protocols.  A metric is a function of tensors."""
