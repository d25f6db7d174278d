# mypy: ignore-errors
"""How threads share the work of a kernel: parts are handed out one by one, phase after phase.

A gate is an array of counters, two for each phase: parts that were taken, parts that are done. A
thread takes parts until none is left and then waits for those that others still work on. So nobody
waits for a thread that comes late or never (another process holds its core): the others do its
parts. Who waits spins for some microseconds, then offers its core, then sleeps. A thread that fails
in the middle of a part abandons the gate: nobody takes a part any more, and waiting ends with an
error instead of going on with what was half written.
"""

from __future__ import annotations

import ctypes
import os

import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from headworks.splat.cpu.jit import kernel

_LINE = 64  # bytes of a cache line: no two counters on one
_PHASE = 2 * _LINE
SPINS, OFFERS = 400, 1200  # turns of waiting: about 10 microseconds, then some hundred
_ABANDONED = 1 << 40  # more parts than there are
_I32, _I64 = ir.IntType(32), ir.IntType(64)


def _offer_the_core():
    """Tell LLVM where the system's functions are: compiled kernels know them by our names."""
    system = ctypes.WinDLL("kernel32") if os.name == "nt" else ctypes.CDLL(None)
    names = ("SwitchToThread", "Sleep") if os.name == "nt" else ("sched_yield", "usleep")
    for ours, name in zip(("headworks_yield", "headworks_sleep"), names):
        address = ctypes.cast(getattr(system, name), ctypes.c_void_p).value
        llvm.add_symbol(ours, address)


_offer_the_core()
_NAP = 1 if os.name == "nt" else 20  # milliseconds, or microseconds
_X86 = llvm.get_default_triple().startswith(("x86_64", "i686"))


def gate(phases):
    """Counters for so many phases; one gate serves one call of a kernel."""
    return np.zeros(phases * _PHASE // 8, np.int64)


def abandon(gate):
    """No more parts; whoever waits at the gate gets a RuntimeError."""
    gate[:] = _ABANDONED


def _counter(builder, at, phase, offset):
    by = builder.add(builder.mul(phase, ir.Constant(_I64, _PHASE)), ir.Constant(_I64, offset))
    return builder.inttoptr(builder.add(at, by), ir.PointerType(_I64))


@intrinsic
def _take(typingctx, at, phase):
    def codegen(context, builder, signature, args):
        counter = _counter(builder, *args, 0)
        return builder.atomic_rmw("add", counter, ir.Constant(_I64, 1), "acq_rel")

    return types.intp(types.intp, types.intp), codegen


@intrinsic
def _finish(typingctx, at, phase):
    def codegen(context, builder, signature, args):
        counter = _counter(builder, *args, _LINE)
        return builder.atomic_rmw("add", counter, ir.Constant(_I64, 1), "acq_rel")

    return types.intp(types.intp, types.intp), codegen


@intrinsic
def _finished(typingctx, at, phase):
    def codegen(context, builder, signature, args):
        return builder.load_atomic(_counter(builder, *args, _LINE), "acquire", 8)

    return types.intp(types.intp, types.intp), codegen


def _call(builder, name, *arguments):
    signature = ir.FunctionType(_I32, [a.type for a in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments)


@intrinsic
def _pause(typingctx):
    def codegen(context, builder, signature, args):
        if _X86:
            name = "llvm.x86.sse2.pause"
            signature = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, signature, name), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _offer(typingctx):
    def codegen(context, builder, signature, args):
        _call(builder, "headworks_yield")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _nap(typingctx):
    def codegen(context, builder, signature, args):
        _call(builder, "headworks_sleep", ir.Constant(_I32, _NAP))
        return context.get_dummy_value()

    return types.void(), codegen


@kernel()
def take(gate, phase):
    """Number of the next part of a phase: 0, 1, ...; beyond the last there is nothing to do."""
    return _take(gate.ctypes.data, phase)


@kernel()
def finish(gate, phase):
    """A part that was taken is done."""
    _finish(gate.ctypes.data, phase)


@kernel()
def wait(gate, phase, parts):
    """Return when all parts of a phase are done; what they wrote can be read.

    Raises:
        RuntimeError: a thread has abandoned the gate.
    """
    at, turns = gate.ctypes.data, 0
    while True:
        finished = _finished(at, phase)
        if finished >= _ABANDONED:
            raise RuntimeError("a thread of the rasteriser failed")
        if finished >= parts:
            return
        turns += 1
        if turns < SPINS:
            _pause()
        elif turns < OFFERS:
            _offer()
        else:
            _nap()
