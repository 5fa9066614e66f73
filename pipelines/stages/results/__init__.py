"""What leaves: rendered views, baked assets, scores of a finished scene."""
