"""What synthetic people are asked to show: named expressions, and NeRSemble's sequences."""

from __future__ import annotations

from dataclasses import dataclass

from headworks.errors import HeadworksError

PRESETS: dict[str, dict[str, float]] = {
    # "*" stands for both sides.
    "neutral": {},
    "smile": {"mouthSmile*": 0.9, "cheekSquint*": 0.4},
    "open": {"jawOpen": 0.75},
    "surprise": {"browInnerUp": 0.8, "browOuterUp*": 0.8, "eyeWide*": 0.8, "jawOpen": 0.35},
    "anger": {"browDown*": 0.9, "noseSneer*": 0.5, "mouthPress*": 0.6, "eyeSquint*": 0.3},
    "pucker": {"mouthPucker": 0.9},
    "laugh": {"mouthSmile*": 0.8, "jawOpen": 0.45, "mouthUpperUp*": 0.4, "eyeSquint*": 0.6},
    "sad": {"mouthFrown*": 0.8, "browInnerUp": 0.7, "eyeBlink*": 0.25},
    "closed": {"eyeBlink*": 1.0},
    "funnel": {"mouthFunnel": 0.8, "jawOpen": 0.25},
    "disgust": {"noseSneer*": 0.9, "mouthUpperUp*": 0.6, "browDown*": 0.4},
    "puff": {"cheekPuff": 0.9, "mouthPress*": 0.3},
    "wink": {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.5, "cheekSquintLeft": 0.5},
    "sideways": {"mouthLeft": 0.7, "jawLeft": 0.4},
    "teeth": {"mouthUpperUp*": 0.7, "mouthLowerDown*": 0.7, "mouthStretch*": 0.4},
}


@dataclass(frozen=True)
class Act:
    """One thing to show.

    Attributes:
        face: activations at the apex; a name that ends in `*` stands for both sides.
        head: pitch (positive looks down), yaw (positive to the subject's left), roll, radians.
        gaze: pitch and yaw of the eyes, radians; None: wherever they happen to look.
        pace: factor on the usual durations.
    """

    face: dict[str, float]
    head: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gaze: tuple[float, float] | None = None
    pace: float = 1.0


def _preset(name: str, factor: float = 1.0, **more: float) -> Act:
    face = {unit: factor * value for unit, value in PRESETS[name].items()}
    return Act({**face, **more})


_FEAR = {
    "browInnerUp": 0.9, "browDown*": 0.3, "eyeWide*": 0.9, "mouthStretch*": 0.6, "jawOpen": 0.2,
}  # fmt: skip
_SHOUT = {
    "jawOpen": 0.95, "mouthLowerDown*": 0.5, "mouthUpperUp*": 0.35, "browDown*": 0.6,
    "eyeSquint*": 0.5, "noseSneer*": 0.35,
}  # fmt: skip
# Prototypes of emotions as combinations of facial actions: Ekman, Friesen and Hager, Facial Action
# Coding System (2002), table of emotion predictions.
SCRIPTS: dict[str, tuple[Act, ...]] = {
    "EMO-1-shout+laugh": (
        Act(_SHOUT, (-0.08, 0.0, 0.0), pace=0.8), _preset("laugh"), Act(_SHOUT, pace=0.7),
        Act({**PRESETS["laugh"], "jawOpen": 0.65}, (-0.10, 0.05, 0.03)), _preset("smile"),
    ),
    "EMO-2-surprise+fear": (
        _preset("surprise"), Act(_FEAR, (-0.06, 0.0, 0.0)),
        Act({**PRESETS["surprise"], "jawOpen": 0.6}), Act(_FEAR, (0.0, 0.12, 0.05)),
    ),
    "EMO-3-angry+sad": (
        _preset("anger"), _preset("sad"),
        Act({**PRESETS["anger"], "mouthUpperUp*": 0.4, "mouthLowerDown*": 0.4}, (0.06, 0, 0)),
        Act({**PRESETS["sad"], "mouthShrugLower": 0.5}, (0.12, 0.0, 0.04)),
    ),
    "EMO-4-disgust+happy": (
        _preset("disgust"), _preset("smile"), Act(PRESETS["disgust"], (-0.05, -0.12, 0.0)),
        _preset("laugh"),
    ),
    "EXP-1-head": (
        Act({}, (0.0, 0.55, 0.0)), Act({}, (0.0, -0.55, 0.0)), Act({}, (0.28, 0.0, 0.0)),
        Act({}, (-0.28, 0.0, 0.0)), Act({}, (0.0, 0.0, 0.24)), Act({}, (0.0, 0.0, -0.24)),
    ),
    "EXP-2-eyes": (
        Act({}, gaze=(0.0, 0.42)), Act({}, gaze=(0.0, -0.42)), Act({}, gaze=(-0.28, 0.0)),
        Act({}, gaze=(0.30, 0.0)), Act({"eyeBlink*": 1.0}, pace=0.7), Act({"eyeWide*": 0.9}),
        Act({"eyeSquint*": 0.9}), Act({"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.5}, pace=0.7),
        Act({"eyeBlinkRight": 1.0, "cheekSquintRight": 0.5}, pace=0.7),
    ),
    "EXP-3-cheeks+nose": (
        Act({"cheekPuff": 0.95}), Act({"noseSneer*": 0.95}), Act({"cheekSquint*": 0.95}),
        Act({"noseSneerLeft": 0.9}), Act({"noseSneerRight": 0.9}),
    ),
    "EXP-4-lips": (
        Act({"mouthPucker": 0.95}), Act({"mouthFunnel": 0.9, "jawOpen": 0.2}),
        Act({"mouthRollLower": 0.9, "mouthRollUpper": 0.8}), Act({"mouthPress*": 0.9}),
        Act({"mouthShrugLower": 0.8, "mouthShrugUpper": 0.7}), Act({"mouthSmile*": 0.95}),
    ),
    "EXP-5-mouth": (
        Act({"mouthLeft": 0.9}), Act({"mouthRight": 0.9}), Act({"mouthStretch*": 0.9}),
        Act({"mouthFrown*": 0.9}), Act({"mouthUpperUp*": 0.8}), Act({"mouthLowerDown*": 0.8}),
        Act({"mouthDimple*": 0.9}), Act({"mouthSmileLeft": 0.9}), Act({"mouthSmileRight": 0.9}),
    ),
    "EXP-6-tongue-1": (
        Act({"jawOpen": 0.45, "tongueOut": 0.9}), Act({"jawOpen": 0.6, "tongueOut": 0.6}),
    ),
    "EXP-7-tongue-2": (
        Act({"jawOpen": 0.3, "tongueOut": 0.8, "mouthLowerDown*": 0.3}),
        Act({"jawOpen": 0.7, "tongueOut": 0.9}),
    ),
    "EXP-8-jaw-1": (
        Act({"jawOpen": 0.4}), Act({"jawOpen": 0.95}), Act({"jawOpen": 0.7, "mouthFunnel": 0.4}),
    ),
    "EXP-9-jaw-2": (
        Act({"jawLeft": 0.9}), Act({"jawRight": 0.9}), Act({"jawForward": 0.9}),
        Act({"jawLeft": 0.7, "jawOpen": 0.4}),
    ),
}  # fmt: skip


def chosen(wanted: str) -> list[str]:
    """Names of NeRSemble's sequences, in its order, FREE last.

    Args:
        wanted: names or their beginnings, separated by commas.

    Raises:
        HeadworksError: a beginning that no sequence has.
    """
    known = [*SCRIPTS, "FREE"]
    beginnings = [word.strip() for word in wanted.split(",") if word.strip()]
    for word in beginnings:
        if not any(name.startswith(word) for name in known):
            raise HeadworksError(
                f"synthesis.sequences: {word!r} begins no sequence; there are {', '.join(known)}"
            )
    if not beginnings:
        raise HeadworksError("synthesis.sequences: names no sequence; e.g. EMO,EXP,FREE")
    return [name for name in known if name.startswith(tuple(beginnings))]
