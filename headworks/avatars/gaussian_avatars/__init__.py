"""GaussianAvatars (Qian et al., CVPR 2024) on any head model: our own code of the published method.

model     Gaussians in the frames of their faces, and how a pose carries them
density   cloning, splitting and pruning with binding inheritance
losses    position and scale losses
tuning    expression, pose and translation of the training times, refined along
fit       the training loop
avatar    the result
"""

from headworks.avatars.gaussian_avatars.avatar import GaussianAvatar
from headworks.avatars.gaussian_avatars.fit import GaussianAvatarsConfig, fit_gaussian_avatars

__all__ = ["GaussianAvatar", "GaussianAvatarsConfig", "fit_gaussian_avatars"]
