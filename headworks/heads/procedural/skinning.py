"""Skinning weights of the procedural head: torso, neck, jaw, eyes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headworks.heads.procedural import anatomy
from headworks.heads.procedural.assembly import Assembly
from headworks.heads.procedural.parttypes import Points, smoothstep


def jaw_weights(head: Assembly) -> NDArray[np.float64]:
    """How far each vertex follows the jaw, [V] in [0, 1]: 0 on the upper lip, 1 on the lower."""
    p = head.points
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    hinge = anatomy.JAW_JOINT
    line = hinge[1] + (anatomy.MOUTH_Y - hinge[1]) * np.clip((z - hinge[2]) / 80, 0, 1.15)
    half = 3.0 + 17 * smoothstep(x, 18, 38)
    weight = smoothstep(line - y, -half, half)
    # Behind the ramus and under the chin towards the throat the skin stays.
    weight *= smoothstep(z - 0.12 * y, 18, 46) * smoothstep(y + 0.45 * z, -86, -62)
    lips = [head.tags[f"lip{k}"] for k in range(6)]
    n = len(lips[0])
    around = np.arange(n)
    share = np.where(around <= n // 2, 0.0, 1.0)
    off_corner = np.minimum(around % (n // 2), n // 2 - around % (n // 2)) / (n // 4)
    sharp = smoothstep(off_corner, 0.0, 0.75)
    for k, ring in enumerate(lips):
        keep = (1.0, 1.0, 0.95, 0.85, 0.6, 0.3)[k]
        edge = 0.5 + (share - 0.5) * sharp
        weight[ring] = keep * edge + (1 - keep) * weight[ring]
    sock = head.members["sock"]
    rows = (len(sock) - 1) // n
    for r in range(rows):
        edge = 0.5 + (share - 0.5) * sharp
        # The floor stays with the lower teeth, or it would cover them when the jaw opens.
        fade = (1, 1, 1, 0.95, 0.85, 0.6)[r]
        weight[sock[r * n : (r + 1) * n]] = edge * fade
    weight[sock[-1]] = 0.3
    weight[head.members["teeth_lower"]] = 1
    weight[head.members["tongue"]] = 0.85
    for name in ("teeth_upper", "eye_left", "eye_right", "ear_left", "ear_right"):
        weight[head.members[name]] = 0
    return weight


def skin_weights(head: Assembly) -> Points:
    """[V, 5] in JOINTS order, rows sum to one."""
    p = head.points
    turn = smoothstep(p[:, 1] + 0.2 * p[:, 2], -150, -76)
    jaw = jaw_weights(head) * turn
    weights = np.zeros((len(p), 5))
    weights[:, 0] = 1 - turn
    weights[:, 1] = turn - jaw
    weights[:, 2] = jaw
    for column, name in ((3, "eye_left"), (4, "eye_right")):
        ids = head.members[name]
        weights[ids] = 0
        weights[ids, column] = 1
    for name in ("ear_left", "ear_right", "teeth_upper"):
        weights[head.members[name]] = [0, 1, 0, 0, 0]
    weights[head.members["teeth_lower"]] = [0, 0, 1, 0, 0]
    weights[head.members["tongue"]] = [0, 0.15, 0.85, 0, 0]
    return weights


def joints() -> Points:
    """Rest positions [5, 3] mm in JOINTS order."""
    left = anatomy.EYE_CENTRE
    return np.array(
        [[0, 0, 0], anatomy.NECK_JOINT, anatomy.JAW_JOINT, left, left * [-1, 1, 1]], np.float64
    )
