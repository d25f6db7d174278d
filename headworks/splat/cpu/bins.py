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
PADDING = 16  # entries are read in groups of so many


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
        if m > 0 and starts[(keys[0] >> shift) & mask] == m:
            continue  # one bucket: sorted already
        total = 0
        for b in range(buckets):
            here = starts[b]
            starts[b] = total
            total += here
        for i in range(m):
            b = (keys[i] >> shift) & mask
            keys_next[starts[b]] = keys[i]
            index_next[starts[b]] = index[i]
            starts[b] += 1
        keys, keys_next = keys_next, keys
        index, index_next = index_next, index
    return index.copy()


@kernel()
def count(thread, threads, order, spans, tiles_x, counts, slot_offsets):
    """Count the entries of all lists.

    Args:
        order: int32 [M]. spans: int32 [N, 4] of `project.project`.
        counts: int64 [threads, tiles] out, entries of each thread's share of the order.
        slot_offsets: int64 [N + 1]; at i + 1 the number of tiles of Gaussian i is written.
            Empty when no backward pass will need it.
    """
    m, across, slotted = len(order), tiles_x + 1, len(slot_offsets) > 0
    rows = counts.shape[1] // tiles_x
    # second differences in x and y: four additions per Gaussian, however many tiles it touches
    corners = np.zeros((rows + 1) * across, np.int64)
    for j in range(m * thread // threads, m * (thread + 1) // threads):
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
            counts[thread, y * tiles_x + x] = above[x]


@kernel()
def scan(counts, offsets, slot_offsets):
    """Counts become places: of each thread's first entry per tile, of tiles and of Gaussians."""
    total = 0
    tiles = len(offsets) - 1
    for t in range(tiles):
        offsets[t] = total
        for thread in range(counts.shape[0]):
            here = counts[thread, t]
            counts[thread, t] = total
            total += here
    offsets[tiles] = total
    for i in range(len(slot_offsets) - 1):
        slot_offsets[i + 1] += slot_offsets[i]


@kernel()
def fill(thread, threads, order, spans, tiles_x, counts, slot_offsets, entries, slots):
    """Write each thread's share of the lists.

    Args:
        order, spans: as in `count`. counts, slot_offsets: from `scan`.
        entries: int32 [E + PADDING] out, Gaussians per tile, near first.
        slots: int32 [E] out, one row of sums per entry, in the order of the Gaussians; empty when
            no backward pass will need it.
    """
    m, slotted = len(order), len(slots) > 0
    for j in range(m * thread // threads, m * (thread + 1) // threads):
        i = order[j]
        slot = slot_offsets[i] if slotted else 0
        x0, x1 = spans[i, 0], spans[i, 1]
        for y in range(spans[i, 2], spans[i, 3]):
            for t in range(y * tiles_x + x0, y * tiles_x + x1):
                at = counts[thread, t]
                entries[at] = i
                if slotted:
                    slots[at] = slot
                    slot += 1
                counts[thread, t] = at + 1
