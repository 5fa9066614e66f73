"""What networks there are: kinds, published names and files, licenses, downloads.  Knows loaders by name only.

A new kind of network is a record in ``kinds.py``; a new published network is an entry in ``registry.py``.
"""
