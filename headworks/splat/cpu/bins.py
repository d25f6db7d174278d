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
def _tiles(center, half, tile, n_tiles):
    """First and one-past-last tile that the interval center +- half touches."""
    first = int(np.floor(max((center - half) / tile, np.float32(-1.0))))
    last = int(np.floor(min((center + half) / tile, np.float32(n_tiles)))) + 1
    return max(first, 0), min(last, n_tiles)


@kernel()
def tile_lists(order, means2d, boxes, tile, tiles_x, tiles_y):
    """Lists of Gaussians per tile, near first.

    Args:
        order: int32 [M]. means2d, boxes: float32 [N, 2]. tile: pixels per side.

    Returns:
        offsets int64 [tiles + 1]; entries int32 [E], positions in `order`; slots int32 [E];
        slot_offsets int64 [N + 1], slots of each Gaussian in original order.
    """
    n = len(means2d)
    size = np.float32(tile)
    offsets = np.zeros(tiles_x * tiles_y + 1, np.int64)
    slot_offsets = np.zeros(n + 1, np.int64)
    for j in range(len(order)):
        i = order[j]
        x0, x1 = _tiles(means2d[i, 0], boxes[i, 0], size, tiles_x)
        y0, y1 = _tiles(means2d[i, 1], boxes[i, 1], size, tiles_y)
        if x1 > x0 and y1 > y0:
            slot_offsets[i + 1] = (x1 - x0) * (y1 - y0)
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
        i = order[j]
        x0, x1 = _tiles(means2d[i, 0], boxes[i, 0], size, tiles_x)
        y0, y1 = _tiles(means2d[i, 1], boxes[i, 1], size, tiles_y)
        slot = slot_offsets[i]
        for y in range(y0, y1):
            for x in range(x0, x1):
                at = cursor[y * tiles_x + x]
                entries[at] = j
                slots[at] = slot
                slot += 1
                cursor[y * tiles_x + x] = at + 1
    return offsets, entries, slots, slot_offsets
