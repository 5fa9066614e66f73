"""Scalar terms on pictures, meshes and layers, each differentiable and a mean."""
