# mypy: ignore-errors
"""Depth order and tile lists.

Gaussians are sorted once by depth; tiles are then filled in that order, so every list is sorted.
Each list entry owns one slot in a Gaussian-major array, where the backward writes its sums: no
atomics, and a result that does not depend on which thread did what.
"""

from __future__ import annotations

import numpy as np

from headworks.splat.cpu.gate import finish, take, wait
from headworks.splat.cpu.jit import kernel

RADIX_BITS = 12  # at most; as many passes as the spread of the keys needs, of equal length
PADDING = 16  # entries are read in groups of so many


@kernel()
def _sort(keys, values, m):
    """Stable order of values[:m] by the uint32 keys[:m], smallest first; int32 [m]."""
    least, most = np.uint32(0xFFFFFFFF), np.uint32(0)
    for i in range(m):
        least, most = min(least, keys[i]), max(most, keys[i])
    spread, length = np.int64(most) - np.int64(least), 0
    while spread > 0:
        spread >>= 1
        length += 1
    passes = (length + RADIX_BITS - 1) // RADIX_BITS
    if passes == 0:
        return values
    width = (length + passes - 1) // passes
    buckets = 1 << width
    mask = np.uint32(buckets - 1)
    keys_next, values_next = np.empty(m, np.uint32), np.empty(m, np.int32)
    starts = np.empty(buckets, np.int32)
    for digit in range(passes):
        shift = np.uint32(digit * width)
        for b in range(buckets):
            starts[b] = 0
        for i in range(m):
            starts[((keys[i] - least) >> shift) & mask] += 1
        total = np.int32(0)
        for b in range(buckets):
            here = starts[b]
            starts[b] = total
            total += here
        for i in range(m):
            b = ((keys[i] - least) >> shift) & mask
            at = starts[b]
            keys_next[at] = keys[i]
            values_next[at] = values[i]
            starts[b] = at + 1
        keys, keys_next = keys_next, keys
        values, values_next = values_next, values
    return values


@kernel()
def depth_order(depths, radii, order):
    """Indices of the visible Gaussians, near first; equal depths keep index order.

    Args:
        depths: float32 [N], > 0 where visible. radii: int32 [N, 2], 0 = culled.
        order: int32 [N] out.

    Returns:
        how many are visible.
    """
    n = len(depths)
    bits = depths.view(np.uint32)
    keys, visible = np.empty(n, np.uint32), np.empty(n, np.int32)
    m = 0
    for i in range(n):
        keys[m] = bits[i]
        visible[m] = i
        m += (radii[i, 0] > 0) | (radii[i, 1] > 0)
    sorted_ = _sort(keys, visible, m)
    for j in range(m):
        order[j] = sorted_[j]
    return m


@kernel()
def longest_first(offsets, tile_order):
    """Tiles by the length of their lists, to hand out the longest first."""
    tiles = len(tile_order)
    most = 0
    for t in range(tiles):
        most = max(most, offsets[t + 1] - offsets[t])
    keys, numbers = np.empty(tiles, np.uint32), np.empty(tiles, np.int32)
    for t in range(tiles):
        keys[t] = most - (offsets[t + 1] - offsets[t])
        numbers[t] = t
    sorted_ = _sort(keys, numbers, tiles)
    for t in range(tiles):
        tile_order[t] = sorted_[t]


@kernel()
def _count(part, parts, order, m, spans, tiles_x, counts, slot_offsets):
    """Count the entries of one part of the order."""
    across, slotted = tiles_x + 1, len(slot_offsets) > 0
    rows = counts.shape[1] // tiles_x
    # second differences in x and y: four additions per Gaussian, however many tiles it touches
    corners = np.zeros((rows + 1) * across, np.int64)
    for j in range(m * part // parts, m * (part + 1) // parts):
        i = order[j]
        x0, x1, y0, y1 = spans[i, 0], spans[i, 1], spans[i, 2], spans[i, 3]
        if slotted:
            slot_offsets[i + 1] = (x1 - x0) * (y1 - y0)
        corners[y0 * across + x0] += 1
        corners[y0 * across + x1] -= 1
        corners[y1 * across + x0] -= 1
        corners[y1 * across + x1] += 1
    above = np.zeros(tiles_x, np.int64)
    for y in range(rows):
        along = 0
        for x in range(tiles_x):
            along += corners[y * across + x]
            above[x] += along
            counts[part, y * tiles_x + x] = above[x]


@kernel()
def _scan(counts, offsets, slot_offsets):
    """Counts become places: of each part's first entry per tile, of tiles and of Gaussians."""
    total = 0
    tiles = len(offsets) - 1
    for t in range(tiles):
        offsets[t] = total
        for part in range(counts.shape[0]):
            here = counts[part, t]
            counts[part, t] = total
            total += here
    offsets[tiles] = total
    for i in range(len(slot_offsets) - 1):
        slot_offsets[i + 1] += slot_offsets[i]


@kernel()
def arrange(
    gate, phase, depths, radii, spans, tiles_x, order, visible, counts, offsets, tile_order,
    slot_offsets,
):  # fmt: skip
    """Everything about the lists but their entries: three phases of a gate, from `phase` on.

    Args:
        depths, radii, spans: float32 [N], int32 [N, 2], int32 [N, 4] of `project.project`.
        order: int32 [N] out, the visible Gaussians, near first. visible: int64 [1] out, how many.
        counts: int64 [parts, tiles] out, where each part of the order begins in each list.
        offsets: int64 [tiles + 1] out. tile_order: int32 [tiles] out, longest list first.
        slot_offsets: int64 [N + 1] of zeros, out: first slot of each Gaussian. Empty when no
            backward pass will need it.
    """
    parts = counts.shape[0]
    if take(gate, phase) == 0:
        visible[0] = depth_order(depths, radii, order)
        finish(gate, phase)
    wait(gate, phase, 1)
    while True:
        part = take(gate, phase + 1)
        if part >= parts:
            break
        _count(part, parts, order, visible[0], spans, tiles_x, counts, slot_offsets)
        finish(gate, phase + 1)
    wait(gate, phase + 1, parts)
    if take(gate, phase + 2) == 0:
        _scan(counts, offsets, slot_offsets)
        longest_first(offsets, tile_order)
        finish(gate, phase + 2)
    wait(gate, phase + 2, 1)


@kernel()
def fill(
    gate, phase, order, visible, spans, tiles_x, counts, slot_offsets, entries, slots, offsets
):  # fmt: skip
    """Write the lists: one phase of a gate.

    Args:
        order, visible, spans, counts, slot_offsets, offsets: of `arrange`.
        entries: int32 [E + PADDING or more] out, Gaussians per tile, near first; zeros behind.
        slots: int32 [E or more] out, one row of sums per entry, in the order of the Gaussians;
            empty when no backward pass will need it.
    """
    parts, slotted = counts.shape[0], len(slots) > 0
    m = visible[0]
    while True:
        part = take(gate, phase)
        if part >= parts:
            break
        for k in range(PADDING if part == 0 else 0):
            entries[offsets[-1] + k] = 0
        for j in range(m * part // parts, m * (part + 1) // parts):
            i = order[j]
            slot = slot_offsets[i] if slotted else 0
            x0, x1 = spans[i, 0], spans[i, 1]
            for y in range(spans[i, 2], spans[i, 3]):
                for t in range(y * tiles_x + x0, y * tiles_x + x1):
                    at = counts[part, t]
                    entries[at] = i
                    if slotted:
                        slots[at] = slot
                        slot += 1
                    counts[part, t] = at + 1
        finish(gate, phase)
    wait(gate, phase, parts)
