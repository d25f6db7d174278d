"""Files in which avatars leave: each module one format, computing nothing that is not about it.

splats            the Gaussians of one frame as 3DGS stores them (`headworks.formats.ply` writes)
spz               compressed splats, version 2 and 3
gaussian_avatars  GaussianAvatars' bound point cloud and its parameter file
gltf              a small writer of binary glTF
head_mesh         the head with morph targets, skin, texture and motion, as glTF
texture           a texture of the head, gathered from pictures of its avatar
"""
