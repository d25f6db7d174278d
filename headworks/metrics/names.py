"""Names and directions, for those who show numbers and compute none."""

from __future__ import annotations

PLAIN = ("nearest_frame", "textured_mesh")
"""What one gets without any avatar: what every avatar must beat."""

BASELINES = ("gaussian_avatars", "flash_avatar", *PLAIN)
"""Methods that every avatar is compared with."""

TITLES = {"gaussian_avatars": "GaussianAvatars", "flash_avatar": "FlashAvatar"}
"""Methods that people know under a name of its own."""

HIGHER_IS_BETTER = {
    "psnr": True, "ssim": True, "ssim_3dgs": True, "ms_ssim": True, "flip": False, "fd": False,
    "alpha_mae": False, "alpha_iou": True, "flicker": False,
}  # fmt: skip


def split_name(name: str) -> tuple[str, str]:
    """`psnr_face` -> ("psnr", "face"); `ms_ssim` -> ("ms_ssim", "full")."""
    for scope in ("fg", "face"):
        if name.endswith(f"_{scope}"):
            return name.removesuffix(f"_{scope}"), scope
    return name, "full"
