# mypy: ignore-errors
"""Shading of what the z-buffer found: skin, eyes, cloth and strands of hair, under broad lamps."""

from __future__ import annotations

import numba
import numpy as np

SKIN, LIPS, EYE, WET, INSIDE, CLOTH, PLASTIC, METAL, LENS = range(9)
"""Indices into `scene.MATERIALS`."""
_LAMP_SIZE = 0.16
"""Half angle of a lamp, radians: highlights are never smaller."""


@numba.njit(cache=True, nogil=True)
def _texel(texture, u, v, out):
    """Bilinear lookup; u, v in [0, 1], v up."""
    size = texture.shape[0]
    tx, ty = u * size - 0.5, (1 - v) * size - 0.5
    x0, y0 = int(np.floor(tx)), int(np.floor(ty))
    fx, fy = tx - x0, ty - y0
    out[:] = 0.0
    for dx in range(2):
        for dy in range(2):
            w = (fx if dx else 1 - fx) * (fy if dy else 1 - fy)
            xi = min(max(x0 + dx, 0), size - 1)
            yi = min(max(y0 + dy, 0), size - 1)
            for d in range(3):
                out[d] += w * texture[yi, xi, d]


@numba.njit(cache=True, nogil=True)
def shade(
    face_ids, bary, owner, faces, corner_uv, positions, normals, occlusion, lit, material, texture,
    covered, skin, rough, cloth, frame, eye, directions, intensities, softness, above, below, out,
):  # fmt: skip
    """Linear colours of all samples that show a surface.

    Args:
        face_ids [H, W], bary [H, W, 3]: from the z-buffer. owner [H, W]: strands, which are left
        out here. faces [F, 3], corner_uv [F, 3, 2]. positions, normals [V, 3]: world.
        occlusion, lit [V]: share of the sky and of the first lamp. material [F]. texture [F]: 0
        skin, 1 cloth, 2 one colour. covered [V]: 1 under clothes. skin, cloth [S, S, 3] linear,
        rough [R, R]. frame [3]: the one colour. eye [3]: camera centre. The rest is the light.
        out: [H, W, 3], written in place.
    """
    height, width = face_ids.shape
    n, p, base, _r3, half = np.empty(3), np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    view = np.empty(3)
    lamps = len(directions)
    for y in range(height):
        for x in range(width):
            f = face_ids[y, x]
            if f < 0 or owner[y, x] >= 0:
                continue
            kind = material[f]
            u = v = ao = first = under = 0.0
            n[:] = 0.0
            p[:] = 0.0
            for i in range(3):
                w = bary[y, x, i]
                vertex = faces[f, i]
                ao += w * occlusion[vertex]
                first += w * lit[vertex]
                under += w * covered[vertex]
                u += w * corner_uv[f, i, 0]
                v += w * corner_uv[f, i, 1]
                for d in range(3):
                    n[d] += w * normals[vertex, d]
                    p[d] += w * positions[vertex, d]
            norm = np.sqrt((n * n).sum()) + 1e-9
            far = 0.0
            for d in range(3):
                n[d] /= norm
                view[d] = eye[d] - p[d]
                far += view[d] * view[d]
            far = np.sqrt(far)
            facing = 0.0
            for d in range(3):
                view[d] /= far
                facing += n[d] * view[d]
            if facing < 0 and kind == CLOTH:
                for d in range(3):
                    n[d] = -n[d]
                facing = -facing
            facing = max(facing, 0.0)
            roughness = 0.8
            if texture[f] == 0:
                _texel(skin, u, v, base)
                yi = min(int((1 - v) * rough.shape[0]), rough.shape[0] - 1)
                xi = min(int(u * rough.shape[1]), rough.shape[1] - 1)
                roughness = rough[yi, xi]
            elif texture[f] == 1:
                _texel(cloth, u, v, base)
            else:
                base[:] = frame
                roughness = 0.22 if kind == PLASTIC else 0.30
            # Reflected at normal incidence, and how far light travels below the surface.
            f0, through = 0.030, 0.0
            if kind in (SKIN, LIPS):
                through = 1.0 - under
            elif kind == EYE:
                f0, through = 0.035, 0.25
            elif kind in (CLOTH, INSIDE):
                f0 = 0.0
            elif kind == METAL:
                f0 = 0.55
            alpha2 = roughness**4 + _LAMP_SIZE**2 * 0.35
            fresnel = f0 + (1 - f0) * (1 - facing) ** 5 * (1 - roughness) if f0 > 0 else 0.0
            up = 0.5 + 0.5 * n[1]
            mirror = 2 * facing * n[1] - view[1]
            sky = 0.5 + 0.5 * mirror
            for d in range(3):
                around = below[d] + (above[d] - below[d]) * up
                # Dark hollows glow red where light comes back through skin.
                hollow = ao ** (1.0 - 0.45 * through * (1.0 if d == 0 else 0.25))
                glint = below[d] + (above[d] - below[d]) * sky * sky
                out[y, x, d] = base[d] * around * hollow + fresnel * 0.55 * glint * ao
            for lamp in range(lamps):
                nl = nh = vh = 0.0
                for d in range(3):
                    half[d] = view[d] + directions[lamp, d]
                hn = np.sqrt((half * half).sum()) + 1e-9
                for d in range(3):
                    nl += n[d] * directions[lamp, d]
                    nh += n[d] * half[d] / hn
                    vh += view[d] * half[d] / hn
                soft = softness[lamp]
                seen = first if lamp == 0 else 0.35 + 0.65 * ao
                seen = seen * (0.45 + 0.55 * ao)
                nh = max(nh, 0.0)
                spread = nh * nh * (alpha2 - 1) + 1
                gleam = alpha2 / (4.0 * spread * spread) * max(nl, 0.0)
                gleam *= (f0 + (1 - f0) * (1 - vh) ** 5) if f0 > 0 else 0.0
                # Neither grazing view nor grazing light shows the whole of the rough surface.
                gleam /= max(0.35, max(nl, 0.0) * facing) ** 0.5
                for d in range(3):
                    reach = soft + through * (0.30 if d == 0 else (0.12 if d == 1 else 0.08))
                    diffuse = max(0.0, (nl + reach) / (1 + reach))
                    diffuse *= diffuse if reach > 0.6 else 1.0
                    shadow = seen
                    if through > 0:
                        # The edge of a shadow on skin is red.
                        shadow = seen ** (1.0 - 0.30 * through) if d == 0 else seen
                    out[y, x, d] += intensities[lamp, d] * (
                        base[d] * diffuse * shadow + gleam * seen
                    )


@numba.njit(cache=True, nogil=True)
def shade_strands(
    owner, share, points, colour, light, lit, middle, eye, directions, intensities, softness,
    above, below, out,
):  # fmt: skip
    """Linear colours of all samples that show a strand.

    Args:
        owner, share [H, W]: from `drawing.draw`. points [N, P, 3] metres. colour [N, 3] linear.
        light, lit [N, P]: share of the sky and of the first lamp. middle [3]: of the head, away
        from which hair faces. The rest as in `shade`.

    Source: Kajiya and Kay (1989) for the diffuse part; a white and a coloured highlight, shifted
    towards root and tip, after Marschner et al. (2003).
    """
    height, width = owner.shape
    count = points.shape[1]
    t, p, n, view, half = np.empty(3), np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    for y in range(height):
        for x in range(width):
            if owner[y, x] < 0:
                continue
            i, k = owner[y, x] // count, owner[y, x] % count
            w = share[y, x]
            ao = light[i, k] * (1 - w) + light[i, k + 1] * w
            first = lit[i, k] * (1 - w) + lit[i, k + 1] * w
            tn = nn = vn = 0.0
            for d in range(3):
                t[d] = points[i, k + 1, d] - points[i, k, d]
                p[d] = points[i, k, d] * (1 - w) + points[i, k + 1, d] * w
                n[d] = p[d] - middle[d]
                view[d] = eye[d] - p[d]
                tn += t[d] * t[d]
                nn += n[d] * n[d]
                vn += view[d] * view[d]
            tn, nn, vn = np.sqrt(tn) + 1e-12, np.sqrt(nn) + 1e-12, np.sqrt(vn)
            tv = 0.0
            for d in range(3):
                t[d] /= tn
                n[d] /= nn
                view[d] /= vn
                tv += t[d] * view[d]
            open_sky = 0.10 + 0.90 * ao
            up = 0.5 + 0.5 * n[1]
            for d in range(3):
                around = below[d] + (above[d] - below[d]) * up
                out[y, x, d] = colour[i, d] * around * open_sky * 1.1
            for lamp in range(len(directions)):
                tl = nl = hh = 0.0
                for d in range(3):
                    tl += t[d] * directions[lamp, d]
                    nl += n[d] * directions[lamp, d]
                    half[d] = view[d] + directions[lamp, d]
                    hh += half[d] * half[d]
                th = 0.0
                for d in range(3):
                    th += t[d] * half[d] / np.sqrt(hh)
                wrap = max(0.0, (nl + 0.45 + softness[lamp] * 0.4) / (1.45 + softness[lamp] * 0.4))
                seen = (first if lamp == 0 else 0.3 + 0.7 * ao) * (0.3 + 0.7 * ao)
                sine = np.sqrt(max(0.0, 1 - tl * tl))
                white = max(0.0, 1 - (th - 0.10) ** 2) ** 60
                own = max(0.0, 1 - (th + 0.14) ** 2) ** 22
                for d in range(3):
                    c = colour[i, d]
                    glow = 0.045 * white + 0.55 * own * c**0.75 * 0.8
                    out[y, x, d] += intensities[lamp, d] * seen * wrap * (c * 0.85 * sine + glow)
