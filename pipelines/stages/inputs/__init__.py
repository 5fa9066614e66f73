"""From a picture to the reference view: mask, depth, camera."""
