"""L0: the vocabulary shared by every layer.  Imports torch only."""
