# mypy: ignore-errors
"""Vectors as rows and columns: transposing loads and stores, blocks of pixels, small products."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from headworks.splat.cpu.simd import (
    _F32,
    _I32,
    _I64,
    _INTS,
    _VEC,
    LANES,
    Vector,
    _emit_fma,
    _load,
    _splat,
    _store,
    vector,
)


def _joined(builder, parts):
    """Vectors one after another as one."""
    while len(parts) > 1:
        if len(parts) % 2:
            parts = [*parts, ir.Constant(parts[0].type, ir.Undefined)]
        width = 2 * parts[0].type.count
        index = ir.Constant(ir.VectorType(_I32, width), list(range(width)))
        parts = [builder.shuffle_vector(a, b, index) for a, b in zip(parts[::2], parts[1::2])]
    return parts[0]


def columns(width):
    """An intrinsic that reads 16 rows of `width` floats as `width` vectors, one per column."""
    result = types.UniTuple(vector, width)

    def codegen(context, builder, signature, args):
        parts = [_load(builder, args[0], _VEC, 4 * LANES * k) for k in range(width)]
        rows = _joined(builder, parts)
        values = [
            builder.shuffle_vector(
                rows, rows, ir.Constant(_INTS, [width * p + c for p in range(LANES)])
            )
            for c in range(width)
        ]
        return context.make_tuple(builder, signature.return_type, values)

    return intrinsic(lambda typingctx, address: (result(types.intp), codegen))


def _blocks(pattern):
    """Lane numbers of a shuffle that does the same in every block of 4 lanes."""
    return [4 * block + lane for block in range(4) for lane in pattern]


@intrinsic
def picked_columns(typingctx, rows, indices):
    """Columns of 16 rows of 8 floats: the rows whose int32 numbers lie at `indices`."""

    def codegen(context, builder, signature, args):
        eight = ir.VectorType(_F32, 8)
        numbers = _load(builder, args[1], _INTS)
        loaded = []
        for p in range(LANES):
            number = builder.zext(builder.extract_element(numbers, ir.Constant(_I32, p)), _I64)
            at = builder.add(args[0], builder.shl(number, ir.Constant(_I64, 5)))
            loaded.append(_load(builder, at, eight))
        # two 8 x 8 transpositions side by side, by blocks of 4 lanes
        both = list(range(LANES))
        level = [
            builder.shuffle_vector(loaded[p], loaded[p + 8], ir.Constant(_INTS, both))
            for p in range(8)
        ]

        def mixed(a, b, index):
            return builder.shuffle_vector(a, b, ir.Constant(_INTS, index))

        small, large = _blocks((0, 16, 1, 17)), _blocks((2, 18, 3, 19))
        level = [mixed(level[k], level[k + 1], i) for k in (0, 2, 4, 6) for i in (small, large)]
        front, rear = _blocks((0, 1, 16, 17)), _blocks((2, 3, 18, 19))
        level = [
            mixed(level[k + j], level[k + j + 2], i)
            for k in (0, 4) for j in (0, 1) for i in (front, rear)
        ]  # fmt: skip
        even = [*range(4), *range(16, 20), *range(8, 12), *range(24, 28)]
        odd = [*range(4, 8), *range(20, 24), *range(12, 16), *range(28, 32)]
        values = [mixed(level[c], level[c + 4], even) for c in range(4)]
        values += [mixed(level[c], level[c + 4], odd) for c in range(4)]
        return context.make_tuple(builder, signature.return_type, values)

    return types.UniTuple(vector, 8)(types.intp, types.intp), codegen


def pixels(width):
    """An intrinsic that reads 4 x 4 pixels of `width` floats as `width` vectors.

    Its arguments: address of the first pixel, and bytes from one row to the next.
    """
    result, row = types.UniTuple(vector, width), ir.VectorType(_F32, 4 * width)

    def codegen(context, builder, signature, args):
        address, rows = args[0], []
        for _ in range(4):
            rows.append(_load(builder, address, row))
            address = builder.add(address, args[1])
        whole = _joined(builder, rows)
        values = [
            builder.shuffle_vector(
                whole, whole, ir.Constant(_INTS, [width * p + c for p in range(LANES)])
            )
            for c in range(width)
        ]
        return context.make_tuple(builder, signature.return_type, values)

    return intrinsic(lambda typingctx, address, step: (result(types.intp, types.intp), codegen))


@intrinsic
def store_pixels(typingctx, address, step, values):
    """Write vectors as the channels of 4 x 4 pixels; arguments as of `pixels`."""

    def codegen(context, builder, signature, args):
        address, step, values = args
        width = len(signature.args[2])
        whole = _joined(builder, [builder.extract_value(values, c) for c in range(width)])
        for row in range(4):
            at = range(4 * width * row, 4 * width * (row + 1))
            index = [(n % width) * LANES + n // width for n in at]
            shape = ir.VectorType(_I32, 4 * width)
            _store(
                builder, builder.shuffle_vector(whole, whole, ir.Constant(shape, index)), address
            )
            address = builder.add(address, step)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, values), codegen


@intrinsic
def moved(typingctx, row, dx, dy):
    """Moments 1, x, y, x^2, xy, y^2 (8 floats) about a point that lies at (-dx, -dy) of the old."""
    first, second = (1, 3, 4), (2, 5, 4)  # x, x^2, xy of each axis

    def codegen(context, builder, signature, args):
        value, dx, dy = args
        zero = ir.Constant(value.type, [0.0] * 8)
        for shift, (line, square, product), other in ((dx, first, 2), (dy, second, 1)):
            once, twice = [8] * 8, [8] * 8  # 8: a zero
            once[line], once[square], once[product] = 0, line, other
            twice[square] = 0
            scale = [1.0] * 8
            scale[square] = 2.0
            by = _splat(builder, shift, 8)
            index = ir.VectorType(_I32, 8)
            linear = builder.shuffle_vector(value, zero, ir.Constant(index, once))
            linear = builder.fmul(linear, ir.Constant(value.type, scale))
            quadratic = builder.shuffle_vector(value, zero, ir.Constant(index, twice))
            value = _emit_fma(builder, _emit_fma(builder, quadratic, by, linear), by, value)
        return value

    return row(row, types.float32, types.float32), codegen


@intrinsic
def store_columns(typingctx, address, values):
    """Write vectors as the columns of 16 rows of len(values) floats."""

    def codegen(context, builder, signature, args):
        width = len(signature.args[1])
        parts = [builder.extract_value(args[1], c) for c in range(width)]
        everything = _joined(builder, parts)
        for k in range(width):
            at = range(
                LANES * k, LANES * (k + 1)
            )  # element at = row at // width, column at % width
            lanes = [(n % width) * LANES + n // width for n in at]
            value = builder.shuffle_vector(everything, everything, ir.Constant(_INTS, lanes))
            where = builder.add(args[0], ir.Constant(args[0].type, 4 * LANES * k))
            _store(builder, value, where)
        return context.get_dummy_value()

    return types.void(types.intp, values), codegen


def table(width):
    """An intrinsic that loads 16 vectors of `width` floats that lie one after another."""
    shape, result = ir.VectorType(_F32, width), types.UniTuple(Vector(width), LANES)

    def codegen(context, builder, signature, args):
        rows = [_load(builder, args[0], shape, 4 * width * p) for p in range(LANES)]
        return context.make_tuple(builder, signature.return_type, rows)

    return intrinsic(lambda typingctx, address: (result(types.intp), codegen))


@intrinsic
def weighted(typingctx, address, rows):
    """Sum over p of the float at address + 4 p times row p of a table: 16 x width to width."""

    def codegen(context, builder, signature, args):
        width = signature.args[1].dtype.lanes
        sums = [None, None]  # two chains
        for p in range(LANES):
            factor = _splat(builder, _load(builder, args[0], _F32, 4 * p), width)
            row = builder.extract_value(args[1], p)
            total = sums[p % 2]
            sums[p % 2] = (
                builder.fmul(factor, row)
                if total is None
                else _emit_fma(builder, factor, row, total)
            )
        return builder.fadd(*sums)

    return rows.dtype(types.intp, rows), codegen
