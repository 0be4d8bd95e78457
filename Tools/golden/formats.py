#!/usr/bin/env python3
"""Golden vectors of the formats: random blocks of every GGML type, and the floats that the gguf package makes of them.

Writes Tests/FormatsTests/Golden/ggml.gguf and ggml-expected.safetensors. Needs gguf, numpy, safetensors.
"""
import pathlib

import gguf
import numpy
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import save_file

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "Tests/FormatsTests/Golden"
# Where the half-precision scales of a block lie: their exponents are kept small, so that no value is infinite.
HALVES = {Type.Q8_0: [0], Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q4_K: [0, 2],
          Type.Q5_K: [0, 2], Type.Q6_K: [208]}
COLUMNS, ROWS = 512, 6


def blocks(kind, random):
    count, size = gguf.GGML_QUANT_SIZES[kind]
    data = random.integers(0, 256, (ROWS, COLUMNS // count, size), dtype=numpy.uint8)
    for offset in HALVES[kind]:
        halves = random.standard_normal((ROWS, COLUMNS // count)).astype(numpy.float16)
        halves[0, 0] = 6e-8  # subnormal
        halves[1, 0] = 0
        data[:, :, offset:offset + 2] = halves[:, :, None].view(numpy.uint8)
    return data.reshape(ROWS, -1)


def main():
    GOLDEN.mkdir(exist_ok=True)
    random = numpy.random.default_rng(11)
    writer = gguf.GGUFWriter(GOLDEN / "ggml.gguf", "none")
    writer.add_bool("test.bool", True)
    writer.add_int8("test.int8", -5)
    writer.add_uint16("test.uint16", 65535)
    writer.add_uint64("test.uint64", 2**63 - 1)
    writer.add_float64("test.float64", 0.1)
    writer.add_array("test.nested", [[1, 2], [3]])
    expected = {}
    for kind in HALVES:
        data = blocks(kind, random)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        expected[kind.name] = gguf.dequantize(data, kind)
    plain = random.standard_normal((ROWS, COLUMNS)).astype(numpy.float32)
    for kind in (Type.F32, Type.F16, Type.BF16):
        data = gguf.quantize(plain, kind)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        expected[kind.name] = gguf.dequantize(data, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file({name: numpy.ascontiguousarray(value) for name, value in expected.items()},
              GOLDEN / "ggml-expected.safetensors")


main()
