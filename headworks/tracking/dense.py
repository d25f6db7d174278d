"""Pixels: the mean texture, drawn at each frame's pose, is found again in the frame.

A landmark detector is unsure by about a pixel, frame by frame. All frames show the same skin: the
clip's mean texture is drawn at the current pose, a few hundred well-textured surface points are
followed from the drawing into the frame (Lucas-Kanade, forward and back), and where they are found
becomes evidence for pose and expression. Every frame is compared with one texture, so nothing
drifts; the texture's place on the mesh stays what the landmarks say on average.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from headworks.tracking.energy import Observations, Problem, State, fit_chain
from headworks.tracking.flow import lucas_kanade
from headworks.tracking.landmark_fit import (
    LANDMARK_SIGMA_IOD,
    LandmarkRig,
    landmark_observations,
)
from headworks.tracking.light import fit_light, without_light
from headworks.tracking.points import PointModel, concatenate
from headworks.tracking.texture import (
    FaceSurface,
    draw,
    draw_texture,
    gather_texture,
    seen_points,
    texture_image,
)

Array = NDArray[np.float64]
_POINTS, _SPACING_TEXELS = 320, 3.0
_SIGMA_PX = 0.4
_REACH_IOD = 0.12  # a surface point is not looked for farther away than this
_TEXTURE_FRAMES = 24
_SHADE_IOD = 0.12  # shading changes over larger distances than this, texture over smaller ones


def high_pass(grey: NDArray[np.uint8] | NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Frames [T, H, W] without slow shading, in grey levels about 0."""
    import cv2

    frames = [frame.astype(np.float32) for frame in grey]
    return np.stack([frame - cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames])


def refine(
    surface: FaceSurface,
    rig: LandmarkRig,
    problem: Problem,
    state: State,
    landmarks: Array,
    grey: NDArray[np.uint8],
    Ks: Array,
    magnification: Array,
    iod: float,
    rounds: int = 2,
    progress: Callable[[float, str], None] = lambda done, message: None,
) -> State:
    """Refine pose and expression of all frames by their pixels.

    Args:
        surface: the head's skin. rig: its landmarks. problem: the fit. state: the landmark fit.
        landmarks: [T, 68, 3] about the principal point at magnification 1.
        grey: [T, H, W]. Ks: [T, 3, 3]. magnification: [T]. iod: interocular distance, pixels.
        rounds: how often texture and poses are improved in turn.
        progress: told a fraction in [0, 1].
    """
    images = high_pass(grey, _SHADE_IOD * iod)
    t = len(state)
    some = np.unique(np.linspace(0, t - 1, min(t, _TEXTURE_FRAMES)).astype(int))
    offset = len(rig.model)
    for turn in range(rounds):
        mean, _, weight = gather_texture(surface, state, Ks, images, some)
        texture = texture_image(surface, mean, weight)
        chosen = textured_points(surface, texture, weight)
        together = concatenate([rig.model, surface_model(surface, chosen)])
        dense_problem = replace(problem, model=together)
        target, found = follow(surface, chosen, texture, state, images, Ks, iod)
        target = (target - Ks[:, None, :2, 2]) / magnification[:, None, None]
        dense = Observations(
            np.tile(np.arange(offset, offset + len(chosen)), (t, 1)),
            target,
            found,
            np.full(t, _SIGMA_PX),
        )
        for _ in range(4):
            marks = landmark_observations(landmarks, rig.index(state), LANDMARK_SIGMA_IOD)
            state = fit_chain(dense_problem, state, [marks, dense])
        progress((turn + 1) / rounds, "pixels followed")
    return state


def followed(
    surface: FaceSurface,
    state: State,
    rgb: NDArray[np.uint8],
    Ks: Array,
    iod: float,
    offset: int,
    frames: NDArray[np.int64],
) -> tuple[PointModel, Observations]:
    """Texture points of one camera of a rig, and where its frames show them.

    Args:
        surface: the head's skin. state: in this camera. rgb: [T, H, W, 3]. Ks: [T, 3, 3].
        iod: interocular distance, pixels. offset: where the points will begin in the fit's model.
        frames: those in which the face is seen squarely enough.

    Returns:
        The points, and observations of them in pixels of the pictures.
    """
    import cv2

    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in rgb])
    t = len(state)
    plain = grey.astype(np.float32)
    if len(frames) > 1:
        some = frames[np.unique(np.linspace(0, len(frames) - 1, _TEXTURE_FRAMES).astype(int))]
        light, _ = fit_light(surface, state, Ks, plain, some)
        plain = without_light(surface, state, Ks, plain, frames, light)
    images = high_pass(plain, _SHADE_IOD * iod)
    chosen = np.zeros(0, np.int64)
    target, found = np.zeros((t, 0, 2)), np.zeros((t, 0))
    if len(frames):
        some = frames[np.unique(np.linspace(0, len(frames) - 1, _TEXTURE_FRAMES).astype(int))]
        mean, _, weight = gather_texture(surface, state, Ks, images, some)
        texture = texture_image(surface, mean, weight)
        chosen = textured_points(surface, texture, weight)
        target, found = np.zeros((t, len(chosen), 2)), np.zeros((t, len(chosen)))
        target[frames], found[frames] = follow(
            surface, chosen, texture, state.frames(frames), images[frames], Ks[frames], iod
        )
    index = np.tile(np.arange(offset, offset + len(chosen)), (t, 1))
    return surface_model(surface, chosen), Observations(index, target, found, np.full(t, _SIGMA_PX))


def textured_points(
    surface: FaceSurface, texture: NDArray[np.float32], weight: Array
) -> NDArray[np.int64]:
    """Texels [N] with texture in two directions, spread over the face, strongest first."""
    import cv2

    mask = np.zeros((surface.size, surface.size), np.uint8)
    row, column = surface.texel_at.T
    mask[row[weight > 0.2 * weight.max()], column[weight > 0.2 * weight.max()]] = 255
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8))
    corners = cv2.goodFeaturesToTrack(
        texture, _POINTS, 0.003, _SPACING_TEXELS, mask=inner, blockSize=5
    )
    if corners is None:
        return np.zeros(0, np.int64)
    number = np.full((surface.size, surface.size), -1, np.int64)
    number[row, column] = np.arange(len(row))
    at = corners.reshape(-1, 2).round().astype(int)
    return number[at[:, 1], at[:, 0]]


def surface_model(surface: FaceSurface, texels: NDArray[np.int64]) -> PointModel:
    """Texels as points of the head model.

    Args:
        surface: the face. texels: [N] indices into its texels.
    """
    corners = surface.faces[surface.texel_face[texels]]
    bary, model = surface.texel_bary[texels], surface.model

    def blend(values: Array) -> Array:
        return np.einsum("ni,ni...->n...", bary, values[corners])

    return PointModel(
        blend(model.template),
        blend(model.identity),
        blend(model.expression),
        blend(model.jaw_weight),
        model.jaw_pivot,
        blend(model.corrective),
        model.terms,
    )


def follow(
    surface: FaceSurface,
    texels: NDArray[np.int64],
    texture: NDArray[np.float32],
    state: State,
    images: NDArray[np.float32],
    Ks: Array,
    iod: float,
) -> tuple[Array, Array]:
    """Find surface points of the drawn texture in every frame.

    Returns:
        pixels [T, N, 2] and weights [T, N] (0 where not found).
    """
    t, (h, w) = len(state), images.shape[1:3]
    target, weight = np.zeros((t, len(texels), 2)), np.zeros((t, len(texels)))
    window = 2 * round(0.09 * iod) + 1
    for i in range(t):
        vertices = surface.vertices(state, i)
        buffers = draw(surface, vertices, Ks[i], w, h)
        drawn = draw_texture(surface, buffers, texture)
        pixels, cosine = seen_points(
            surface, surface.texel_face[texels], surface.texel_bary[texels],
            vertices, Ks[i], buffers,
        )  # fmt: skip
        # Outside the face both pictures show the frame, so that its border pulls at nothing.
        drawn = np.where(buffers.face_ids >= 0, drawn, images[i])
        at = np.flatnonzero(cosine > 0)
        there, good = lucas_kanade(
            _as_bytes(drawn),
            _as_bytes(images[i]),
            pixels[at],
            window=window,
            levels=1,
            tolerance=0.5,
        )
        good &= np.linalg.norm(there - pixels[at], axis=1) < _REACH_IOD * iod
        target[i, at[good]] = there[good]
        weight[i, at[good]] = cosine[at[good]]
    return target, weight


def _as_bytes(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(2 * image + 128, 0, 255).astype(np.uint8)


def texture_deviation(
    surface: FaceSurface, state: State, grey: NDArray[np.uint8], Ks: Array, count: int = 48
) -> float:
    """How much a surface point's grey level varies over frames: mean deviation, of 255.

    Args:
        surface: the face. state: of T frames. grey: uint8 [T, H, W]. Ks: [T, 3, 3] pixels.
        count: at most so many frames are looked at.
    """
    t = len(state)
    some = np.unique(np.linspace(0, t - 1, min(t, count)).astype(int))
    images = grey.astype(np.float32)
    _, deviation, weight = gather_texture(surface, state, Ks, images, some)
    return float((deviation * weight).sum() / weight.sum())


def jitter(points: Array, linked: NDArray[np.bool_]) -> float:
    """Root mean square second difference of image points [T, N, 2], pixels."""
    both = linked[1:] & linked[:-1]
    bend = points[2:] - 2 * points[1:-1] + points[:-2]
    return float(np.sqrt((bend[both] ** 2).sum(-1).mean())) if both.any() else 0.0
