"""StdGEN's stages: canonicalize, six views, layers, refinement, colors, export."""
