"""Machine code of kernels for processors that need not be at hand, as text, and what a test can count in it.

LLVM compiles for any processor on any host. So a count of instructions holds on every machine, and a slow change of the
generated code is seen without a stopwatch.
"""

import re
from typing import NamedTuple

import llvmlite.binding as llvm
import pytest
from llvmlite import ir
from numba import cfunc, njit
from numba.core.dispatcher import Dispatcher

from tinygrad_rnn.kernels.cpu.codegen import tile
from tinygrad_rnn.kernels.cpu.codegen.vector import Vectors
from tinygrad_rnn.kernels.cpu.runtime.host import VectorUnit, host_features


class Processor(NamedTuple):
    """A processor to compile for: its vector unit, and LLVM's names for it.

    multiply_add, stack_access: patterns of an instruction that adds a product, and of one that moves a vector register
    to the stack or back.
    """

    unit: VectorUnit
    triple: str
    cpu: str
    features: str
    multiply_add: str
    stack_access: str

    def assembly(self, code: str) -> str:
        """Return the assembly text of LLVM code."""
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        module = llvm.parse_assembly(code)
        target = llvm.Target.from_triple(self.triple)
        return target.create_target_machine(cpu=self.cpu, features=self.features, opt=3).emit_assembly(module)


LINUX = "x86_64-unknown-linux-gnu"
# %rbp may also hold the address of an operand: then it has an index or no negative offset.
STACK = r"[xyz]mm\d+.*(\(%rsp|-\d+\(%rbp\))|(\(%rsp|-\d+\(%rbp\)).*[xyz]mm\d+"
PROCESSORS = {
    "AVX2": Processor(VectorUnit(256, 16, True), LINUX, "haswell", "+avx2,+fma", "vfn?m", STACK),
    "AVX-512": Processor(VectorUnit(512, 32, True), LINUX, "skylake-avx512", "", "vfn?m", STACK),
    "SSE": Processor(VectorUnit(128, 16, False), LINUX, "nehalem", "", "addp[sd]", STACK),
    "NEON": Processor(
        VectorUnit(128, 32, True), "aarch64-unknown-linux-gnu", "neoverse-n1", "", "fmla", r"\b[qvd]\d+.*\[(sp|x29)"
    ),
}
AVX2 = PROCESSORS["AVX2"]


def kernel_assembly(function) -> str:
    """Return a kernel's machine code for a processor with AVX2, as text. function: of Python, or compiled already."""
    if not (host_features().get("avx2") and host_features().get("fma")):
        pytest.skip("Numba generates the kernels for an x86 processor with AVX2")
    if isinstance(function, Dispatcher):
        signature = function.nopython_signatures[0]  # a function read from the cache has no text, so compile it again
        code = njit(signature, error_model="numpy")(function.py_func).inspect_llvm(signature.args)
    else:
        code = cfunc("void(intp, intp, intp)", error_model="numpy")(function).inspect_llvm()
    return AVX2.assembly(code)


def tile_assembly(processor: Processor, bits: int, rows: int, vectors: int, span: int, started: int) -> str:
    """Return the machine code of one tile, as text."""
    module, word = ir.Module(), ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [word] * 11), "tile")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    length, *rest = function.args
    views = tuple(rest[:3]), tuple(rest[3:6]), tuple(rest[6:8]), tuple(rest[8:])
    v = Vectors(builder, bits, processor.unit.lanes(bits // 8))
    tile._emit_tile(v, rows, vectors, span, started, length, *views)
    builder.ret_void()
    return processor.assembly(str(module))


def innermost_loops(text: str) -> list[list[str]]:
    """Return the instructions of each loop that contains neither another loop nor a branch."""
    loops, label, block = list[list[str]](), "", list[str]()
    for line in map(str.strip, text.splitlines()):
        found = re.match(r"(\.L\w+):", line)
        if found:
            label, block = found.group(1), []
        elif line and line[0] not in ".#/":
            block.append(line)
            if line[0] in "jb" and line.split()[-1] == label:
                loops.append(block[:])
    return loops


def multiply_adds(block: list[str], processor: Processor = AVX2) -> int:
    """Return how many instructions of a block add a product."""
    return sum(bool(re.match(processor.multiply_add, line)) for line in block)


def spills(block: list[str], processor: Processor = AVX2) -> list[str]:
    """Return the instructions of a block that move a vector register to the stack or back."""
    return [line for line in block if re.search(processor.stack_access, line)]
