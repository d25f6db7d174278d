"""FlashAvatar (Xiang et al., CVPR 2024) on any head model: our own code of the published method.

network   condition, positional encoding, the offset MLP
model     Gaussians sampled on the UV map, and what the network adds to them
losses    Huber terms, the mouth's weight
fit       the training loop
avatar    the result; its network is part of the file
"""

from headworks.avatars.flash_avatar.avatar import FlashAvatar
from headworks.avatars.flash_avatar.fit import FlashAvatarConfig, fit_flash_avatar

__all__ = ["FlashAvatar", "FlashAvatarConfig", "fit_flash_avatar"]
