"""Files that people keep: meshes, GLB, manifests, tables of runs.  Networks' files are in ``loaders``."""
