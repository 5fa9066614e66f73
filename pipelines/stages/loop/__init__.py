"""The one optimization loop: scene, cameras, optimizer, step; stages of ``objects`` configure it."""
