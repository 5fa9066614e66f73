"""Pictures of scenes: surfaces by rasterization, density by volume rendering, shading, normal maps."""
