"""The steps that a node or a paper runs, in rooms by what they make.

inputs < loop < objects < results; characters stand beside, and use inputs and results.
"""
