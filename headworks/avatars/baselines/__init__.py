"""Honest baselines: what an avatar must beat before it is worth anything.

NearestFrame    the training picture whose expression and head pose are nearest
TexturedMesh    the tracked mesh with a texture gathered from the training pictures
"""

from headworks.avatars.baselines.nearest_frame import NearestFrame, head_states
from headworks.avatars.baselines.textured_mesh import Texture, TexturedMesh, gather_texture

__all__ = ["NearestFrame", "Texture", "TexturedMesh", "gather_texture", "head_states"]
