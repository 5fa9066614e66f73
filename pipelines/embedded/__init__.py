"""Weights of the small networks that ship with the pack, each with its card.  Data, no code."""
