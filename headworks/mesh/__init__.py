"""Triangle meshes on the CPU: z-buffer, barycentric interpolation, UV-map sampling.

Gradients to vertices, attributes and the outline are in `headworks.mesh.differentiable` (torch).
"""

from headworks.mesh.raster import MeshBuffers, interpolate, rasterize_mesh, rasterize_uv

__all__ = ["MeshBuffers", "interpolate", "rasterize_mesh", "rasterize_uv"]
