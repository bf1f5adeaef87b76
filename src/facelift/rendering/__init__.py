"""Meshes to pictures: rasteriser, materials, light."""
