"""Procedural objects with complete ground truth: mesh, colors, caption, views, depth, normals.

The toybox serves three ends: training the embedded networks, measuring the pipeline against the
truth, and letting anyone try a graph without data.  Everything is deterministic by seed.
"""
