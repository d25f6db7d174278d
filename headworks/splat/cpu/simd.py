# mypy: ignore-errors
"""Vectors of 64 floats (one 8 x 8 sub-tile) as values inside Numba kernels.

LLVM splits a vector into the registers that the CPU has (4 of AVX-512, 8 of AVX2, 16 of SSE or
NEON) and issues each operation for all parts before the next: independent chains that hide the
latency, which a loop over pixels does not give. One source for all CPUs.
"""

from __future__ import annotations

from llvmlite import binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

LANES = 64
_HOST = {name for name, has in llvm.get_host_cpu_features().items() if has}
_F32, _I1, _I32 = ir.FloatType(), ir.IntType(1), ir.IntType(32)
_VEC, _MASK, _INTS = (ir.VectorType(t, LANES) for t in (_F32, _I1, _I32))
_ROUND = 12582912.0  # 1.5 * 2^23: adding it leaves the rounded integer in the low bits
_EXP2 = (  # 2^f on [-1/2, 1/2], relative error 1e-7
    1.0000000717, 0.6931469670, 0.2402211972, 0.0555071333, 0.0096755417, 0.0013276457,
)  # fmt: skip


class _Vector(types.Type):
    def __init__(self):
        super().__init__(name="f32x64")


class _Mask(types.Type):
    def __init__(self):
        super().__init__(name="bool_x64")


vector, mask = _Vector(), _Mask()


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _VEC)


@register_model(_Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _MASK)


def _constant(value):
    return ir.Constant(_VEC, [float(value)] * LANES)


def _splat(builder, value):
    single = builder.insert_element(ir.Constant(_VEC, ir.Undefined), value, ir.Constant(_I32, 0))
    zeros = ir.Constant(_INTS, [0] * LANES)
    return builder.shuffle_vector(single, ir.Constant(_VEC, ir.Undefined), zeros)


def _pointer(context, builder, array_type, array, index, shape):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.PointerType(shape))


def _unary(result, argument, emit):
    def wrapped(typingctx, a):
        return result(argument), lambda context, builder, signature, args: emit(builder, *args)

    return intrinsic(wrapped)


def _binary(result, first, second, emit):
    def wrapped(typingctx, a, b):
        return result(first, second), lambda context, builder, signature, args: emit(builder, *args)

    return intrinsic(wrapped)


def _ternary(result, first, second, third, emit):
    def wrapped(typingctx, a, b, c):
        types_ = result(first, second, third)
        return types_, lambda context, builder, signature, args: emit(builder, *args)

    return intrinsic(wrapped)


def _emit_fma(builder, a, b, c):
    name = f"llvm.fma.v{a.type.count}f32"
    signature = ir.FunctionType(a.type, [a.type] * 3)
    function = cgutils.get_or_insert_function(builder.module, signature, name)
    return builder.call(function, [a, b, c])


def _emit_min(builder, a, b):
    return builder.select(builder.fcmp_ordered("<", a, b, flags=("nnan",)), a, b)


def _emit_max(builder, a, b):
    return builder.select(builder.fcmp_ordered(">", a, b, flags=("nnan",)), a, b)


def _emit_any_positive(builder, a):
    bits = builder.bitcast(builder.fcmp_ordered(">", a, _constant(0.0)), ir.IntType(LANES))
    return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(LANES), 0))


def _emit_exp2(builder, q):
    """2^q for -30 <= q <= 30; the clamp below keeps lanes far outside a Gaussian clean."""
    q = _emit_max(builder, q, _constant(-30.0))
    shifted = builder.fadd(q, _constant(_ROUND))
    f = builder.fsub(q, builder.fsub(shifted, _constant(_ROUND)))
    p = _constant(_EXP2[5])
    for coefficient in reversed(_EXP2[:5]):
        p = _emit_fma(builder, p, f, _constant(coefficient))
    whole = builder.shl(builder.bitcast(shifted, _INTS), ir.Constant(_INTS, [23] * LANES))
    return builder.bitcast(builder.add(builder.bitcast(p, _INTS), whole), _VEC)


def _emit_reciprocal(builder, a):
    """1 / a for normal a > 0: with AVX-512 an estimate and one Newton step (relative 1e-7)."""
    if "avx512f" not in _HOST:
        return builder.fdiv(_constant(1.0), a)
    single, bits = ir.VectorType(_F32, 16), ir.IntType(16)
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(single, [single, single, bits]),
        "llvm.x86.avx512.rcp14.ps.512",
    )  # fmt: skip
    none, everywhere = ir.Constant(single, ir.Undefined), ir.Constant(bits, -1)
    parts = [
        builder.call(function, [_part(builder, a, first, 16), none, everywhere])
        for first in (0, 16, 32, 48)
    ]
    wide = ir.VectorType(_I32, 32)
    joined = [
        builder.shuffle_vector(x, y, ir.Constant(wide, list(range(32))))
        for x, y in (parts[:2], parts[2:])
    ]
    guess = builder.shuffle_vector(*joined, ir.Constant(_INTS, list(range(LANES))))
    # guess (2 - a guess) = guess + guess (1 - a guess)
    off = _emit_fma(builder, builder.fneg(a), guess, _constant(1.0))
    return _emit_fma(builder, guess, off, guess)


def _emit_finished(builder, a):
    """-|a|"""
    sign = ir.Constant(_INTS, [-(2**31)] * LANES)
    return builder.bitcast(builder.or_(builder.bitcast(a, _INTS), sign), _VEC)


splat = _unary(vector, types.float32, _splat)
add = _binary(vector, vector, vector, lambda b, x, y: b.fadd(x, y))
sub = _binary(vector, vector, vector, lambda b, x, y: b.fsub(x, y))
mul = _binary(vector, vector, vector, lambda b, x, y: b.fmul(x, y))
reciprocal = _unary(vector, vector, _emit_reciprocal)
low = _binary(vector, vector, vector, _emit_min)
fma = _ternary(vector, vector, vector, vector, _emit_fma)
greater = _binary(mask, vector, vector, lambda b, x, y: b.fcmp_ordered(">", x, y))
greater_equal = _binary(mask, vector, vector, lambda b, x, y: b.fcmp_ordered(">=", x, y))
select = _ternary(vector, mask, vector, vector, lambda b, m, x, y: b.select(m, x, y))
any_positive = _unary(types.boolean, vector, _emit_any_positive)
exp2 = _unary(vector, vector, _emit_exp2)
finished = _unary(vector, vector, _emit_finished)


def _lanes(values):
    constant = ir.Constant(_VEC, [float(v) for v in values])

    def wrapped(typingctx):
        return vector(), lambda context, builder, signature, args: constant

    return intrinsic(wrapped)


lane_x = _lanes([p % 8 for p in range(LANES)])
lane_y = _lanes([p // 8 for p in range(LANES)])


@intrinsic
def load(typingctx, array, index):
    """64 floats of a contiguous float32 array from `index` on."""

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], *args, _VEC)
        return builder.load(pointer, align=4)

    return vector(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, value):
    """Write 64 floats to a contiguous float32 array from `index` on."""

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], *args[:2], _VEC)
        builder.store(args[2], pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


def _part(builder, value, first, count):
    index = ir.Constant(ir.VectorType(_I32, count), list(range(first, first + count)))
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), index)


def _fold(builder, value):
    """64 lanes to 16 whose sum is the same."""
    a, b, c, d = (_part(builder, value, first, 16) for first in (0, 16, 32, 48))
    return builder.fadd(builder.fadd(a, b), builder.fadd(c, d))


def _fold_product(builder, x, y):
    """The products of 64 lanes, folded to 16."""
    parts = [[_part(builder, value, first, 16) for value in (x, y)] for first in (0, 16, 32, 48)]
    total = builder.fmul(*parts[0])
    for a, b in parts[1:]:
        total = _emit_fma(builder, a, b, total)
    return total


def _totals(builder, values):
    """Up to 16 vectors of 16 lanes to one vector of their sums, by a tree of shuffles."""
    level, size = [*values, *[None] * (16 - len(values))], 16
    while size > 1:
        groups, half = 16 // size, size // 2
        next_level = []
        for a, b in zip(level[::2], level[1::2]):
            if a is None:
                next_level.append(None)
                continue
            other = ir.Constant(a.type, [0.0] * 16) if b is None else b
            halves = []
            for offset in (0, half):
                lanes = [
                    source + g * size + offset + k
                    for source in (0, 16) for g in range(groups) for k in range(half)
                ]  # fmt: skip
                index = ir.Constant(ir.VectorType(_I32, 16), lanes)
                halves.append(builder.shuffle_vector(a, other, index))
            next_level.append(builder.fadd(*halves))
        level, size = next_level, half
    return level[0]


def _add_to(context, builder, array_type, array, index, value):
    pointer = _pointer(context, builder, array_type, array, index, value.type)
    builder.store(builder.fadd(builder.load(pointer, align=4), value), pointer, align=4)


@intrinsic
def add_sums(typingctx, array, index, v, dx, dy, w, grads):
    """array[index : index + 16] += sums of v, v dx, v dy, v dx^2, v dx dy, v dy^2, w g...

    One w g for every g in the tuple `grads`. `dx` repeats every 16 lanes, so sums over x are taken
    after folding to 16.
    """

    def codegen(context, builder, signature, args):
        array, index, v, dx, dy, w, grads = args
        x = _part(builder, dx, 0, 16)
        vy = builder.fmul(v, dy)
        f0, f1, f2 = _fold(builder, v), _fold(builder, vy), _fold_product(builder, vy, dy)
        fx = builder.fmul(f0, x)
        values = [f0, fx, f1, builder.fmul(fx, x), builder.fmul(f1, x), f2]
        for k in range(signature.args[6].count):
            values.append(_fold_product(builder, w, builder.extract_value(grads, k)))
        _add_to(context, builder, signature.args[0], array, index, _totals(builder, values))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, vector, vector, vector, grads), codegen


@intrinsic
def add_color_sums(typingctx, array, index, w, state, plane, channels):
    """array[index + c] += sum of w times plane c, for the planes of `state` from `plane` on."""

    def codegen(context, builder, signature, args):
        array, index, w, state, plane, _ = args
        count = signature.args[5].count
        for first in range(0, count, 16):
            values = []
            for c in range(first, min(first + 16, count)):
                at = builder.add(plane, ir.Constant(plane.type, c * LANES))
                pointer = _pointer(context, builder, signature.args[3], state, at, _VEC)
                values.append(_fold_product(builder, w, builder.load(pointer, align=4)))
            at = builder.add(index, ir.Constant(index.type, first))
            _add_to(context, builder, signature.args[0], array, at, _totals(builder, values))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, state, types.intp, channels), codegen
