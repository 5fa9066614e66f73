"""Meshes of which everything is known."""

import math

import numpy as np
import torch
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.ops.marching_tets import marching_tets
from lift123.pipelines.ops.tet_grid import a15_grid
from lift123.pipelines.toybox.shapes import ellipsoid, rounded_box


def ball(radius=0.5, n=12):
    grid, tets = a15_grid(n)
    return Mesh(*marching_tets(grid, grid.norm(dim=-1) - radius, tets))


def box(low, high):
    corners = torch.tensor([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=torch.float32)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = torch.tensor([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    low, high = torch.tensor(low), torch.tensor(high)
    return Mesh(low + corners * (high - low), faces)


FEATURES = ((-0.14, None, 0.07, 0.07, (0.05, 0.05, 0.1)), (0.14, None, 0.07, 0.07, (0.05, 0.05, 0.1)),
            (0.0, 0.02, 0.04, 0.07, (0.8, 0.2, 0.2)), (0.0, -0.16, 0.16, 0.05, (0.6, 0.05, 0.1)))


def painted(vertices, faces, directions, height=0.15):
    """A body with a face (eyes, nose, mouth) painted in every given direction (degrees of azimuth)."""
    color = torch.tensor([0.85, 0.65, 0.45]).repeat(len(vertices), 1)
    for degrees in directions:
        angle = math.radians(degrees)
        front = torch.tensor([math.sin(angle), 0.0, math.cos(angle)])
        right = torch.tensor([math.cos(angle), 0.0, -math.sin(angle)])
        x, y, z = vertices @ right, vertices[:, 1], vertices @ front
        near = z > 0
        for cx, cy, rx, ry, tone in FEATURES:
            cy = height if cy is None else cy
            spot = near & (((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1)
            color[spot] = torch.tensor(tone)
    return Mesh(vertices, faces, color)


def body(kind):
    shape = {"ball": lambda: ellipsoid((0.45, 0.45, 0.45), 60), "egg": lambda: ellipsoid((0.4, 0.5, 0.4), 60),
             "crate": lambda: rounded_box((0.4, 0.45, 0.4), 0.05, 60)}[kind]()
    return torch.from_numpy(shape.vertices).float(), torch.from_numpy(np.ascontiguousarray(shape.faces))
