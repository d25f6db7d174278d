"""What a model card says of each method that is not measured but known: its limits and its use."""

from __future__ import annotations

INTENDED = (
    "Research on head avatars; films and pictures of people who agreed to them, or of synthetic "
    "people."
)
NOT_INTENDED = (
    "Passing off as a recording; showing a person without their consent; recognising, rating or "
    "sorting people."
)
COMMON = (
    "Nothing outside the tracked head and neck is modelled: shoulders, hands and objects are "
    "missing or blurred.",
    "Light is baked in as it fell in the capture; the avatar cannot be lit anew.",
    "Expressions beyond those of the capture are extrapolated by the head model and may look "
    "wrong; the same holds for cameras far from those of the capture.",
)
METHODS: dict[str, tuple[str, ...]] = {
    "gasp": (
        "What the capture does not show (the back of the head, the other side of a photo) comes "
        "from the prior, and so from the people that it was trained with: for people unlike them "
        "it is a guess in their likeness.",
        "Hair is bound to the skin of the head: it does not swing.",
    ),
    "gaussian_avatars": (
        "There is no prior: what the capture does not show is empty or smeared.",
        "Long hair and glasses are bound to the nearest triangles of the head and move with them.",
    ),
    "flash_avatar": (
        "There is no prior: what the capture does not show is empty or smeared.",
        "Made for one frontal camera; views from the side degrade quickly.",
    ),
}
PRIOR = (
    "Knows only people like those listed under Data; groups with few or no members there are "
    "represented badly, and the numbers here say nothing about them.",
    "Synthetic people are simpler than real ones (hair, skin, cloth, light); how well they stand "
    "in for real people is measured only where real subjects are listed below.",
)
UNKNOWN_METHOD = ("No limits are written down for this method.",)


def limits(kind: str, method: str) -> list[str]:
    """Known limits of a prior or an avatar.

    Args:
        kind: "prior" or "avatar". method: as in its artifact.
    """
    own = METHODS.get(method, UNKNOWN_METHOD)
    return [*(PRIOR if kind == "prior" else ()), *own, *COMMON]
