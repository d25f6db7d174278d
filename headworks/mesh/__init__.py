"""Triangle meshes on the CPU: z-buffer, barycentric interpolation, UV-map sampling."""

from headworks.mesh.raster import MeshBuffers, interpolate, rasterize_mesh, rasterize_uv

__all__ = ["MeshBuffers", "interpolate", "rasterize_mesh", "rasterize_uv"]
