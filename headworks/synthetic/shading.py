# mypy: ignore-errors
"""Shading of what the z-buffer found: textured skin, eyes, cloth and anisotropic hair."""

from __future__ import annotations

import numba
import numpy as np

SKIN, HAIR, EYE, WET, CLOTH, LIP = range(6)
"""Materials."""

GAMMA = 2.2


@numba.njit(cache=True, nogil=True)
def shade(
    face_ids, bary, faces, corner_uv, positions, normals, occlusion, material, strand, flow,
    albedo, strands, hair_colour, eye, light, key, fill, ambient_up, ambient_down, gloss, out,
):  # fmt: skip
    """Linear colours of all covered pixels.

    Args:
        face_ids [H, W], bary [H, W, 3]: from the z-buffer. faces [F, 3], corner_uv [F, 3, 2].
        positions, normals [V, 3]: world. occlusion [V] in [0, 1]. material [F].
        strand [V, 3], flow [V, 3]: of hair vertices; strand[:, 2] scales the
        sheen of hair, and how far skin is skin (0 under clothes). albedo [S, S, 3] linear.
        strands [A, B] brightness over strand coordinates. hair_colour [3] linear.
        eye [3]: camera centre. light [3]: unit direction to the key light. key, fill,
        ambient_up, ambient_down: linear intensities [3]. gloss: strength of the skin's shine.
        out: [H, W, 3], written in place.
    """
    height, width = face_ids.shape
    size = albedo.shape[0]
    across, length = strands.shape
    n = np.empty(3)
    p = np.empty(3)
    base = np.empty(3)
    t = np.empty(3)
    for y in range(height):
        for x in range(width):
            f = face_ids[y, x]
            if f < 0:
                continue
            kind = material[f]
            u = v = ao = soft = 0.0
            n[:] = 0.0
            p[:] = 0.0
            for i in range(3):
                w = bary[y, x, i]
                vertex = faces[f, i]
                ao += w * occlusion[vertex]
                soft += w * strand[vertex, 2]
                u += w * corner_uv[f, i, 0]
                v += w * corner_uv[f, i, 1]
                for d in range(3):
                    n[d] += w * normals[vertex, d]
                    p[d] += w * positions[vertex, d]
            view = eye - p
            view /= np.sqrt((view * view).sum())
            n /= np.sqrt((n * n).sum()) + 1e-9
            facing = n[0] * view[0] + n[1] * view[1] + n[2] * view[2]
            if facing < 0 and kind == HAIR:
                n *= -1.0
                facing = -facing
            half = view + light
            half /= np.sqrt((half * half).sum())
            lit = n[0] * light[0] + n[1] * light[1] + n[2] * light[2]
            up = 0.5 + 0.5 * n[1]
            nh = max(0.0, n[0] * half[0] + n[1] * half[1] + n[2] * half[2])
            shine = 0.0
            if kind == HAIR:
                a = b = 0.0
                t[:] = 0.0
                # Coordinates around the crown wrap: unwrap against the first corner.
                first = strand[faces[f, 0], 0]
                for i in range(3):
                    w = bary[y, x, i]
                    vertex = faces[f, i]
                    s = strand[vertex, 0]
                    if s - first > 0.5:
                        s -= 1.0
                    elif s - first < -0.5:
                        s += 1.0
                    a += w * s
                    b += w * strand[vertex, 1]
                    for d in range(3):
                        t[d] += w * flow[vertex, d]
                t -= n * (t * n).sum()
                t /= np.sqrt((t * t).sum()) + 1e-9
                ia = (a + 4.0) * across
                ib = b / 300.0 * length
                a0, b0 = int(np.floor(ia)), int(np.floor(ib))
                fa, fb = ia - a0, ib - b0
                tone = 0.0
                for da in range(2):
                    for db in range(2):
                        wa = fa if da else 1 - fa
                        wb = fb if db else 1 - fb
                        tone += wa * wb * strands[(a0 + da) % across, (b0 + db) % length]
                base[:] = hair_colour * tone
                th = t[0] * half[0] + t[1] * half[1] + t[2] * half[2]
                shift = 0.10 * (tone - 1.0)
                sine = np.sqrt(max(0.0, 1 - (th + shift) ** 2))
                shine = 0.09 * soft * sine**60 * tone * max(0.0, min(1.0, lit * 2 + 0.3))
                diffuse = 0.25 + 0.75 * max(0.0, min(1.0, (lit + 0.25) / 1.25))
                lit = diffuse * (0.55 + 0.45 * max(0.0, facing))
                ao = 0.85
            else:
                tx = u * size - 0.5
                ty = (1 - v) * size - 0.5
                x0, y0 = int(np.floor(tx)), int(np.floor(ty))
                fx, fy = tx - x0, ty - y0
                base[:] = 0.0
                for dx in range(2):
                    for dy in range(2):
                        w = (fx if dx else 1 - fx) * (fy if dy else 1 - fy)
                        xi = min(max(x0 + dx, 0), size - 1)
                        yi = min(max(y0 + dy, 0), size - 1)
                        for d in range(3):
                            base[d] += w * albedo[yi, xi, d]
                if kind in (SKIN, LIP):
                    rim = (1 - max(0.0, facing)) ** 3
                    shine = soft * gloss * (0.10 * nh**18 + 0.12 * rim * max(0.0, lit))
                    if kind == LIP:
                        shine += gloss * 0.16 * nh**40
                elif kind == EYE:
                    shine = 0.75 * nh**220 + 0.03 * nh**12
                elif kind == WET:
                    shine = 0.22 * nh**60 * ao
            for d in range(3):
                wrap = 0.0
                if kind in (SKIN, LIP):
                    # Light bleeds through skin past the terminator, red the furthest.
                    wrap = soft * (0.26 if d == 0 else 0.12)
                diffuse = lit if kind == HAIR else max(0.0, (lit + wrap) / (1 + wrap))
                around = ambient_down[d] + (ambient_up[d] - ambient_down[d]) * up
                front = fill[d] * max(0.0, facing)
                energy = (around + front) * ao + key[d] * diffuse * (0.35 + 0.65 * ao)
                out[y, x, d] = base[d] * energy + shine * key[d]
