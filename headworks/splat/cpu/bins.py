# mypy: ignore-errors
"""Depth order and tile lists.

Gaussians are sorted once by depth; tiles are then filled in that order, so every list is sorted.
Each list entry owns one slot in a Gaussian-major array, where the backward writes its sums: no
atomics, and a result that does not depend on which thread did what.
"""

from __future__ import annotations

import numpy as np

from headworks.splat.cpu.jit import kernel

RADIX_BITS = 11


@kernel()
def depth_order(depths, radii):
    """Indices of the visible Gaussians, near first; equal depths keep index order.

    Args:
        depths: float32 [N], > 0 where visible. radii: int32 [N, 2], 0 = culled.

    Returns:
        int32 [M].
    """
    n = len(depths)
    index = np.empty(n, np.int32)
    m = 0
    for i in range(n):
        if radii[i, 0] > 0 or radii[i, 1] > 0:
            index[m] = i
            m += 1
    bits = depths.view(np.uint32)
    buckets = 1 << RADIX_BITS
    keys, keys_next = np.empty(m, np.uint32), np.empty(m, np.uint32)
    index_next = np.empty(m, np.int32)
    for i in range(m):
        keys[i] = bits[index[i]]
    index = index[:m]
    for digit in range(3):
        shift = np.uint32(digit * RADIX_BITS)
        mask = np.uint32(buckets - 1)
        starts = np.zeros(buckets, np.int64)
        for i in range(m):
            starts[(keys[i] >> shift) & mask] += 1
        total = 0
        for b in range(buckets):
            count = starts[b]
            starts[b] = total
            total += count
        for i in range(m):
            b = (keys[i] >> shift) & mask
            keys_next[starts[b]] = keys[i]
            index_next[starts[b]] = index[i]
            starts[b] += 1
        keys, keys_next = keys_next, keys
        index, index_next = index_next, index
    return index.copy()


@kernel()
def spans(thread, threads, order, means2d, boxes, tile, tiles_x, tiles_y, spans):
    """Tiles that the box of each Gaussian touches.

    Args:
        order: int32 [M]. means2d, boxes: float32 [N, 2]. tile: pixels per side.
        spans: int32 [M, 4] out, first and one-past-last tile in x, then in y; in depth order.
    """
    m = len(order)
    scale = np.float32(1.0) / np.float32(tile)
    for j in range(m * thread // threads, m * (thread + 1) // threads):
        for axis in range(2):
            count = tiles_x if axis == 0 else tiles_y
            center, half = means2d[order[j], axis], boxes[order[j], axis]
            # clamped as floats: a far-away box would not fit into an integer
            first = min(max((center - half) * scale, np.float32(0)), np.float32(count))
            last = min(max((center + half) * scale, np.float32(-1)), np.float32(count))
            spans[j, 2 * axis] = np.int32(first)
            spans[j, 2 * axis + 1] = min(np.int32(np.floor(last)) + 1, count)


@kernel()
def tile_lists(order, spans, n, tiles_x, tiles_y):
    """Lists of Gaussians per tile, near first.

    Args:
        order: int32 [M]. spans: int32 [M, 4] from `spans`. n: number of all Gaussians.

    Returns:
        offsets int64 [tiles + 1]; entries int32 [E], positions in `order`; slots int32 [E];
        slot_offsets int64 [N + 1], slots of each Gaussian in original order.
    """
    offsets = np.zeros(tiles_x * tiles_y + 1, np.int64)
    slot_offsets = np.zeros(n + 1, np.int64)
    for j in range(len(order)):
        x0, x1, y0, y1 = spans[j, 0], spans[j, 1], spans[j, 2], spans[j, 3]
        slot_offsets[order[j] + 1] = max(x1 - x0, 0) * max(y1 - y0, 0)
        for y in range(y0, y1):
            for x in range(x0, x1):
                offsets[y * tiles_x + x + 1] += 1
    for t in range(tiles_x * tiles_y):
        offsets[t + 1] += offsets[t]
    for i in range(n):
        slot_offsets[i + 1] += slot_offsets[i]
    total = offsets[-1]
    entries, slots = np.empty(total, np.int32), np.empty(total, np.int32)
    cursor = offsets[:-1].copy()
    for j in range(len(order)):
        x0, x1, y0, y1 = spans[j, 0], spans[j, 1], spans[j, 2], spans[j, 3]
        slot = slot_offsets[order[j]]
        for y in range(y0, y1):
            for x in range(x0, x1):
                at = cursor[y * tiles_x + x]
                entries[at] = j
                slots[at] = slot
                slot += 1
                cursor[y * tiles_x + x] = at + 1
    return offsets, entries, slots, slot_offsets
