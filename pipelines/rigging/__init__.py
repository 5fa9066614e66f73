"""Skeletons for figures: where joints are, what they hold, how they move."""
