"""The stages that make or change an object: NeRF, mesh, views, words, meshes from elsewhere."""
