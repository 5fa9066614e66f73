"""What a scene is made of while it is optimized: density and color in space, a surface on a tetrahedral grid."""
