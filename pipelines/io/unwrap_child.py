"""xatlas in a process of its own: ``python unwrap_child.py FOLDER`` reads FOLDER/in.npz and writes FOLDER/out.npz.

xatlas holds Python's lock while it works, up to minutes, in which a server would answer nobody.  This file is run by its
path, imports nothing of the pack or of ComfyUI, and needs no ``multiprocessing``: it works alike on every system.

in:  positions [V, 3] float32, faces [F, 3] uint32, settings [size, gutter] int64, path: where modules are looked for.
out: source [W] (vertex of each corner), corners [F, 3], uvs [W, 2] float32.
"""

from __future__ import annotations

import os
import sys

WHOLE = 5_000  # faces that are charted in one piece: xatlas's time grows with the power 1.7 of a piece's faces
PIECE = 2_500  # faces of a piece of larger meshes, at most: all pieces are packed together


def charts(positions, faces, size: int, gutter: int):
    """(source, corners, uvs) of xatlas for one mesh."""
    import numpy as np
    import xatlas

    atlas, parts = xatlas.Atlas(), pieces(positions, faces)
    for part in parts:
        used, corners = np.unique(faces[part], return_inverse=True)
        atlas.add_mesh(np.ascontiguousarray(positions[used]), np.ascontiguousarray(corners.reshape(-1, 3).astype(np.uint32)))
    options, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    options.max_iterations = 2
    packing.resolution, packing.padding, packing.bilinear = size, gutter, True
    atlas.generate(options, packing)
    sources, uvs, found, count = [], [], np.empty(faces.shape, dtype=np.int64), 0
    for index, part in enumerate(parts):
        source, corners, places = atlas[index]
        sources.append(np.unique(faces[part])[source])
        uvs.append(places)
        found[part] = corners.astype(np.int64) + count
        count += len(source)
    return np.concatenate(sources), found, np.concatenate(uvs)


def pieces(positions, faces) -> list:
    """Indices of faces, cut in halves along the longest side of their centers' box until they are few."""
    import numpy as np

    todo, done = [np.arange(len(faces))], []
    centers = positions[faces].mean(1)
    if len(faces) <= WHOLE:
        return todo
    while todo:
        part = todo.pop()
        if len(part) <= PIECE:
            done.append(np.sort(part))
            continue
        axis = int(np.ptp(centers[part], axis=0).argmax())
        order = part[np.argsort(centers[part, axis], kind="stable")]
        todo += [order[: len(order) // 2], order[len(order) // 2 :]]
    return done


def main(folder: str) -> None:
    """Reads, works, and writes under another name first: a file of the right name is whole."""
    import numpy as np

    with np.load(os.path.join(folder, "in.npz"), allow_pickle=False) as given:
        sys.path.extend(str(place) for place in given["path"] if str(place) not in sys.path)
        size, gutter = (int(value) for value in given["settings"])
        source, corners, uvs = charts(given["positions"], given["faces"], size, gutter)
    partial = os.path.join(folder, "partial.npz")
    np.savez(partial, source=source, corners=corners, uvs=uvs)
    os.replace(partial, os.path.join(folder, "out.npz"))


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [place for place in sys.path if os.path.abspath(place or ".") != here]  # its neighbors have common names
    main(sys.argv[1])
