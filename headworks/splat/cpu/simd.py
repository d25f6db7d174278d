# mypy: ignore-errors
"""Short float vectors as values inside Numba kernels, on plain addresses.

A vector of 16 floats is one AVX-512 register, two of AVX2, four of SSE or NEON: LLVM splits it, so
one source serves all CPUs. Memory is reached by addresses (`intp`, bytes), because every array that
is handed to a function costs reference counting; whoever owns the arrays keeps them alive.
"""

from __future__ import annotations

import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

LANES = 16


def _has(feature):
    """Whether Numba compiles for a processor with a feature: the host's, unless it was told."""
    if config.CPU_FEATURES is not None:
        return f"+{feature}" in config.CPU_FEATURES.split(",")
    return config.CPU_NAME != "generic" and llvm.get_host_cpu_features().get(feature, False)


_AVX512 = _has("avx512f")
_F32, _I1, _I32, _I64 = ir.FloatType(), ir.IntType(1), ir.IntType(32), ir.IntType(64)
_VEC, _MASK, _INTS = (ir.VectorType(t, LANES) for t in (_F32, _I1, _I32))
_BITS = ir.IntType(LANES)
_ROUND = 12582912.0  # 1.5 * 2^23: adding it leaves the rounded integer in the low bits
_EXP2 = (  # 2^f on [-1/2, 1/2], relative error 1e-7
    1.0000000717, 0.6931469670, 0.2402211972, 0.0555071333, 0.0096755417, 0.0013276457,
)  # fmt: skip


class Vector(types.Type):
    """Numba type of a vector of floats."""

    def __init__(self, lanes):
        super().__init__(name=f"f32x{lanes}")
        self.lanes = lanes


class Mask(types.Type):
    """Numba type of 16 truth values."""

    def __init__(self):
        super().__init__(name="bool_x16")


vector, mask = Vector(LANES), Mask()


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(_F32, fe_type.lanes))


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _MASK)


def _constant(value, like=_VEC):
    return ir.Constant(like, [value] * like.count)


def _splat(builder, value, lanes=LANES):
    shape = ir.VectorType(value.type, lanes)
    none = ir.Constant(shape, ir.Undefined)
    single = builder.insert_element(none, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(single, none, _constant(0, ir.VectorType(_I32, lanes)))


def _load(builder, address, shape, offset=0):
    if offset:
        address = builder.add(address, ir.Constant(address.type, offset))
    return builder.load(builder.inttoptr(address, ir.PointerType(shape)), align=4)


def _store(builder, value, address):
    builder.store(value, builder.inttoptr(address, ir.PointerType(value.type)), align=4)


def _call(builder, name, result, arguments):
    signature = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments)


def _operation(result, arguments, emit):
    """An intrinsic that maps values to one value by `emit(builder, *values)`."""

    def codegen(context, builder, signature, values):
        return emit(builder, *values)

    # Numba reads the number of arguments off the function
    if len(arguments) == 1:
        return intrinsic(lambda typingctx, a: (result(*arguments), codegen))
    if len(arguments) == 2:
        return intrinsic(lambda typingctx, a, b: (result(*arguments), codegen))
    return intrinsic(lambda typingctx, a, b, c: (result(*arguments), codegen))


def _emit_fma(builder, a, b, c):
    return _call(builder, f"llvm.fma.v{a.type.count}f32", a.type, [a, b, c])


def _emit_min(builder, a, b):
    return builder.select(builder.fcmp_ordered("<", a, b, flags=("nnan",)), a, b)


def _emit_max(builder, a, b):
    return builder.select(builder.fcmp_ordered(">", a, b, flags=("nnan",)), a, b)


def _emit_any(builder, truths):
    return builder.icmp_unsigned("!=", builder.bitcast(truths, _BITS), ir.Constant(_BITS, 0))


def _emit_count(builder, truths):
    bits = _call(builder, f"llvm.ctpop.i{LANES}", _BITS, [builder.bitcast(truths, _BITS)])
    return builder.zext(bits, _I64)


def _polynomial(builder, x, coefficients):
    value = _constant(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = _emit_fma(builder, value, x, _constant(coefficient))
    return value


def _emit_exp2(builder, q):
    """2^q for q <= 30; below -30 something small (AVX-512: 2^q itself)."""
    return _emit_exp2_many(builder, [q])[0]


def _emit_exp2_many(builder, vectors):
    """As `_emit_exp2`, step by step for all: no step waits for the one before it."""
    everywhere = ir.Constant(_BITS, -1)
    if _AVX512:
        none, current = ir.Constant(_VEC, ir.Undefined), ir.Constant(_I32, 4)
        whole = [
            _call(
                builder, "llvm.x86.avx512.mask.rndscale.ps.512", _VEC,
                [q, ir.Constant(_I32, 8), none, everywhere, current],
            )
            for q in vectors
        ]  # fmt: skip
        f = [builder.fsub(q, w) for q, w in zip(vectors, whole)]
        values = [_constant(_EXP2[-1])] * len(f)
        for coefficient in reversed(_EXP2[:-1]):
            values = [_emit_fma(builder, p, x, _constant(coefficient)) for p, x in zip(values, f)]
        return [
            _call(
                builder, "llvm.x86.avx512.mask.scalef.ps.512", _VEC,
                [p, w, none, everywhere, current],
            )
            for p, w in zip(values, whole)
        ]  # fmt: skip
    found = []
    for q in vectors:
        q = _emit_max(builder, q, _constant(-30.0))
        shifted = builder.fadd(q, _constant(_ROUND))
        p = _polynomial(builder, builder.fsub(q, builder.fsub(shifted, _constant(_ROUND))), _EXP2)
        whole = builder.shl(builder.bitcast(shifted, _INTS), _constant(23, _INTS))
        found.append(builder.bitcast(builder.add(builder.bitcast(p, _INTS), whole), _VEC))
    return found


def _emit_log2(builder, a):
    """log2 of normal a > 0, absolute error 1e-7: exponent, and the series of atanh."""
    bits = builder.bitcast(a, _INTS)
    # mantissa in [sqrt(1/2), sqrt(2)): shift the bits so that the exponent changes there
    offset = builder.sub(bits, _constant(0x3F3504F3, _INTS))
    exponent = builder.ashr(offset, _constant(23, _INTS))
    mantissa = builder.sub(bits, builder.shl(exponent, _constant(23, _INTS)))
    m = builder.bitcast(mantissa, _VEC)
    s = builder.fdiv(builder.fsub(m, _constant(1.0)), builder.fadd(m, _constant(1.0)))
    square = builder.fmul(s, s)
    series = _polynomial(builder, square, [2.0 / np.log(2.0) / k for k in (1, 3, 5, 7, 9)])
    return _emit_fma(builder, series, s, builder.sitofp(exponent, _VEC))


def _emit_reciprocal(builder, a):
    """1 / a for normal a > 0: with AVX-512 an estimate and one Newton step (relative 1e-7)."""
    if not _AVX512:
        return builder.fdiv(_constant(1.0), a)
    guess = _call(
        builder, "llvm.x86.avx512.rcp14.ps.512", _VEC,
        [a, ir.Constant(_VEC, ir.Undefined), ir.Constant(_BITS, -1)],
    )  # fmt: skip
    # guess (2 - a guess) = guess + guess (1 - a guess)
    off = _emit_fma(builder, builder.fneg(a), guess, _constant(1.0))
    return _emit_fma(builder, guess, off, guess)


def _emit_first(builder, count):
    lanes = ir.Constant(_INTS, list(range(LANES)))
    return builder.icmp_signed("<", lanes, _splat(builder, builder.trunc(count, _I32)))


def _emit_append(builder, address, value, truths):
    """Write the lanes of `value` that are true one after another; up to 64 bytes are touched."""
    if _AVX512:
        kind = "ps" if value.type == _VEC else "d"
        packed = _call(
            builder, f"llvm.x86.avx512.mask.compress.{kind}.512", value.type,
            [value, value, builder.bitcast(truths, _BITS)],
        )  # fmt: skip
        _store(builder, packed, address)
        return
    for lane in range(LANES):
        at = ir.Constant(_I32, lane)
        _store(builder, builder.extract_element(value, at), address)
        one = builder.zext(builder.extract_element(truths, at), address.type)
        address = builder.add(address, builder.shl(one, ir.Constant(address.type, 2)))


def _emit_whole(builder, a):
    bits = builder.fptosi(a, _INTS)
    return builder.bitcast(bits, _VEC)


def _math(name):
    return lambda builder, a: _call(builder, f"llvm.{name}.v{LANES}f32", _VEC, [a])


def _emit_total(builder, a):
    """Sum of the lanes by halves, in a fixed order."""
    half = a.type.count // 2
    while half:
        low = builder.shuffle_vector(
            a, a, ir.Constant(ir.VectorType(_I32, half), list(range(half)))
        )
        high = builder.shuffle_vector(
            a, a, ir.Constant(ir.VectorType(_I32, half), list(range(half, 2 * half)))
        )
        a = builder.fadd(low, high)
        half //= 2
    return builder.extract_element(a, ir.Constant(_I32, 0))


splat = _operation(vector, [types.float32], _splat)
read = _operation(types.float32, [types.intp], lambda b, at: _load(b, at, _F32))
read_index = _operation(
    types.intp, [types.intp], lambda b, at: b.zext(_load(b, at, _I32), _I64)
)  # fmt: skip
spread = _operation(vector, [types.intp], lambda b, at: _splat(b, _load(b, at, _F32)))
load8 = _operation(
    Vector(8), [types.intp], lambda b, at: _load(b, at, ir.VectorType(_F32, 8))
)  # fmt: skip
load4 = _operation(
    Vector(4), [types.intp], lambda b, at: _load(b, at, ir.VectorType(_F32, 4))
)  # fmt: skip
load = _operation(vector, [types.intp], lambda b, at: _load(b, at, _VEC))
half = _operation(  # the first 8 lanes
    Vector(8), [vector],
    lambda b, a: b.shuffle_vector(a, a, ir.Constant(ir.VectorType(_I32, 8), list(range(8)))),
)  # fmt: skip
add8 = _operation(Vector(8), [Vector(8), Vector(8)], lambda b, x, y: b.fadd(x, y))
add = _operation(vector, [vector, vector], lambda b, x, y: b.fadd(x, y))
sub = _operation(vector, [vector, vector], lambda b, x, y: b.fsub(x, y))
mul = _operation(vector, [vector, vector], lambda b, x, y: b.fmul(x, y))
low = _operation(vector, [vector, vector], _emit_min)
high = _operation(vector, [vector, vector], _emit_max)
fma = _operation(vector, [vector, vector, vector], _emit_fma)
fnma = _operation(  # c - a b
    vector, [vector, vector, vector], lambda b, x, y, z: _emit_fma(b, b.fneg(x), y, z)
)  # fmt: skip
div = _operation(vector, [vector, vector], lambda b, x, y: b.fdiv(x, y))
sqrt = _operation(vector, [vector], _math("sqrt"))
magnitude = _operation(vector, [vector], _math("fabs"))
floor = _operation(vector, [vector], _math("floor"))
ceil = _operation(vector, [vector], _math("ceil"))
as_int = _operation(vector, [vector], _emit_whole)  # bits of the int32 that a whole number is
from_int = _operation(  # and back
    vector, [vector], lambda b, a: b.sitofp(b.bitcast(a, _INTS), _VEC)
)  # fmt: skip
log2 = _operation(vector, [vector], _emit_log2)
total = _operation(types.float32, [vector], _emit_total)
exp2 = _operation(vector, [vector], _emit_exp2)
reciprocal = _operation(vector, [vector], _emit_reciprocal)
greater = _operation(mask, [vector, vector], lambda b, x, y: b.fcmp_ordered(">", x, y))
greater_equal = _operation(mask, [vector, vector], lambda b, x, y: b.fcmp_ordered(">=", x, y))
both = _operation(mask, [mask, mask], lambda b, x, y: b.and_(x, y))
either = _operation(mask, [mask, mask], lambda b, x, y: b.or_(x, y))
first = _operation(mask, [types.intp], _emit_first)  # lanes below a number
count = _operation(types.intp, [mask], _emit_count)
some = _operation(types.boolean, [mask], _emit_any)
select = _operation(vector, [mask, vector, vector], lambda b, m, x, y: b.select(m, x, y))


@intrinsic
def exp2_of4(typingctx, a, b, c, d):
    """`exp2` of four vectors at once."""

    def codegen(context, builder, signature, args):
        values = _emit_exp2_many(builder, args)
        return context.make_tuple(builder, signature.return_type, values)

    return types.UniTuple(vector, 4)(vector, vector, vector, vector), codegen


@intrinsic
def exact_depth(typingctx, a, b, c, d, x, y, z):
    """a x + b y + c z + d in double precision, rounded once: depths decide the order."""

    def codegen(context, builder, signature, args):
        wide = ir.VectorType(ir.DoubleType(), LANES)
        a, b, c, d, x, y, z = (builder.fpext(value, wide) for value in args)
        total = builder.fadd(builder.fmul(c, z), d)
        total = builder.fadd(builder.fmul(b, y), total)
        return builder.fptrunc(builder.fadd(builder.fmul(a, x), total), _VEC)

    return vector(vector, vector, vector, vector, vector, vector, vector), codegen


@intrinsic
def store(typingctx, address, value):
    """Write a vector."""

    def codegen(context, builder, signature, args):
        _store(builder, args[1], args[0])
        return context.get_dummy_value()

    return types.void(types.intp, value), codegen


@intrinsic
def accumulate(typingctx, address, value):
    """Add a vector to memory."""

    def codegen(context, builder, signature, args):
        before = _load(builder, args[0], args[1].type)
        _store(builder, builder.fadd(before, args[1]), args[0])
        return context.get_dummy_value()

    return types.void(types.intp, value), codegen


@intrinsic
def append(typingctx, address, value, truths):
    """Write the lanes that are true one after another; memory for all 16 is touched."""

    def codegen(context, builder, signature, args):
        _emit_append(builder, *args)
        return context.get_dummy_value()

    return types.void(types.intp, vector, mask), codegen


@intrinsic
def append_index(typingctx, address, start, truths):
    """As `append`, of the int32 numbers start, start + 1, ..."""

    def codegen(context, builder, signature, args):
        lanes = ir.Constant(_INTS, list(range(LANES)))
        value = builder.add(_splat(builder, builder.trunc(args[1], _I32)), lanes)
        _emit_append(builder, args[0], value, args[2])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, mask), codegen


def lanes(values):
    """An intrinsic without arguments that gives a constant vector."""
    constant = ir.Constant(_VEC, [float(v) for v in values])
    return intrinsic(
        lambda typingctx: (vector(), lambda context, builder, signature, args: constant)
    )
