#!/usr/bin/env python3
"""Golden vectors of the formats.

- ggml.gguf, ggml-expected.safetensors: random blocks of every GGML type, and the floats that the gguf package makes of them
- ggml-encoded.safetensors: random rows, and the blocks that the gguf package makes of them
- ggml-searched.safetensors: rows of many kinds, and the blocks that llama.cpp's own quantiser makes of them where scales are
  searched for
- split-0000N-of-00003.gguf: a model in three parts
- peft.json: configurations as PEFT saves them
- adapterhub.json: configurations of bottlenecks as the adapters package describes them

Writes into Tests/FormatsTests/Golden. Needs gguf, numpy, safetensors, peft, llama-cpp-python. The adapters package wants another version
of transformers, so only its file of configurations is used: `pip download adapters --no-deps`, unpack the wheel, and name
its folder.

usage: formats.py [FOLDER_OF_ADAPTERS]
"""
import ctypes
import importlib.util
import json
import pathlib
import sys
import tempfile
import types

import gguf
import numpy
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import save_file

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "Tests/FormatsTests/Golden"
# Where the half-precision scales of a block lie: their exponents are kept small, so that no value is infinite.
HALVES = {Type.Q8_0: [0], Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q4_K: [0, 2],
          Type.Q5_K: [0, 2], Type.Q6_K: [208], Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.IQ4_NL: [0], Type.IQ4_XS: [0],
          Type.TQ1_0: [52], Type.TQ2_0: [64], Type.MXFP4: [], Type.NVFP4: []}
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


def encoded(random):
    """Rows as models have them, rows of zeros, of one sign, of ties, and what each encoder makes of them."""
    rows = random.standard_normal((12, COLUMNS)).astype(numpy.float32) * 0.05
    rows[1] = 0
    rows[2] = numpy.abs(rows[2])
    rows[3] = -numpy.abs(rows[3])
    rows[4] = random.integers(-8, 9, COLUMNS) / 8
    rows[5] *= 1e-6
    rows[6, 7] = 30
    rows[7] = random.integers(-127, 128, COLUMNS) / 2
    rows[8, ::32] = 0.5
    rows[8, 1::32] = -0.5
    rows[9] *= 1000
    found = {"rows": rows}
    for kind in (Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_1):
        found[kind.name] = numpy.ascontiguousarray(gguf.quantize(rows, kind)).view(numpy.uint8).reshape(len(rows), -1)
    save_file(found, GOLDEN / "ggml-encoded.safetensors")


def searched():
    """As different as weights can be within a block; halves, so that the file is small."""
    import llama_cpp

    random = numpy.random.default_rng(5)
    count = 768
    rows = {
        "normal": random.standard_normal(count),
        "heavy tails": random.standard_t(3, count),
        "uniform": random.uniform(-1, 1, count),
        "of one sign": numpy.abs(random.standard_normal(count)) + 0.5,
        "negative": -numpy.abs(random.standard_normal(count)) - 0.5,
        "groups of other sizes": random.standard_normal(count) * numpy.repeat(numpy.exp(random.standard_normal(count // 16)), 16),
        "mostly nothing": random.standard_normal(count) * (random.random(count) < 0.1),
        "small": random.standard_normal(count) * 0.05,
    }
    values = numpy.stack([row * 0.02 for row in rows.values()]).astype(numpy.float16)
    quantize = ctypes.CDLL(str(next(pathlib.Path(llama_cpp.__file__).parent.glob("lib/libggml-base.*")))).ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    found = {"rows": values}
    plain = values.astype(numpy.float32)
    for kind in (Type.Q4_K, Type.Q6_K, Type.Q5_0, Type.Q4_0):
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        data = numpy.zeros((len(values), count // elements * size), numpy.uint8)
        assert quantize(kind, plain.ctypes.data, data.ctypes.data, 0, len(values), count, None) == data.size
        found[kind.name] = data
    save_file(found, GOLDEN / "ggml-searched.safetensors")


def split():
    for number in range(3):
        writer = gguf.GGUFWriter(GOLDEN / f"split-{number + 1:05}-of-00003.gguf", "llama")
        if number == 0:
            writer.add_block_count(2)
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", 3)
        writer.add_int32("split.tensors.count", 4)
        for name in (["a", "b"], [], ["c", "d"])[number]:
            writer.add_tensor(name, numpy.full((2, 4), ord(name), numpy.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def peft_configurations():
    import peft

    tasks = dict(task_type="CAUSAL_LM", base_model_name_or_path="base")
    shape = dict(num_virtual_tokens=5, token_dim=64, num_layers=2, num_attention_heads=4, num_transformer_submodules=1)
    made = {
        "lora": peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], **tasks),
        "lora of all": peft.LoraConfig(
            r=16, lora_alpha=32, lora_dropout=0.05, target_modules="all-linear", exclude_modules=["v_proj"],
            use_rslora=True, use_dora=True, rank_pattern={"q_proj": 8, "^model.layers.0.k_proj": 2},
            alpha_pattern={"q_proj": 2}, layers_to_transform=None, modules_to_save=["score"], bias="lora_only",
            fan_in_fan_out=True, init_lora_weights="gaussian", trainable_token_indices=[1, 5], task_type="SEQ_CLS"),
        "lora of layers": peft.LoraConfig(
            r=2, lora_alpha=3, target_modules=["q_proj"], layers_to_transform=[0, 3], layers_pattern=["layers"],
            init_lora_weights=False, trainable_token_indices={"embed_tokens": [7], "lm_head": [8]}),
        "lora by pattern": peft.LoraConfig(r=1, target_modules=r".*\.(q|v)_proj", exclude_modules=r".*3.*"),
        "ia3": peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], **tasks),
        "prefix": peft.PrefixTuningConfig(prefix_projection=True, encoder_hidden_size=32, **shape, **tasks),
        "prompt": peft.PromptTuningConfig(
            prompt_tuning_init="TEXT", prompt_tuning_init_text="Answer:", tokenizer_name_or_path="base", **shape, **tasks),
        "p": peft.PromptEncoderConfig(
            encoder_reparameterization_type="LSTM", encoder_hidden_size=32, encoder_dropout=0.1, encoder_num_layers=1,
            **shape, **tasks),
    }
    found = {}
    for name, config in made.items():
        with tempfile.TemporaryDirectory() as folder:
            config.save_pretrained(folder)
            found[name] = json.loads((pathlib.Path(folder) / "adapter_config.json").read_text())
            found[name].pop("peft_version")
    (GOLDEN / "peft.json").write_text(json.dumps(found, indent=1) + "\n")


def adapterhub_configurations(folder):
    for name in ("adapters", "adapters.configuration"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = []
    sys.modules["adapters.utils"] = types.ModuleType("adapters.utils")
    sys.modules["adapters.utils"].resolve_adapter_config = None
    path = pathlib.Path(folder) / "configuration/adapter_config.py"
    spec = importlib.util.spec_from_file_location("adapters.configuration.adapter_config", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    made = {
        "seq_bn": module.SeqBnConfig(),
        "double_seq_bn": module.DoubleSeqBnConfig(reduction_factor=8),
        "par_bn": module.ParBnConfig(),
        "by layer": module.SeqBnConfig(reduction_factor={"0": 4, "default": 16}, leave_out=[1], dropout=0.1,
                                       non_linearity="gelu", scaling="learned"),
        "invertible": module.SeqBnInvConfig(),
        "compacter": module.CompacterConfig(),
        "prefix": module.PrefixTuningConfig(),
    }
    found = {name: {"model_type": "bert", "hidden_size": 64, "model_name": "base", "name": "task",
                    "model_class": "BertAdapterModel", "config": config.to_dict(), "version": "adapters.1.3.0"}
             for name, config in made.items()}
    (GOLDEN / "adapterhub.json").write_text(json.dumps(found, indent=1) + "\n")


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
    encoded(random)
    searched()
    split()
    peft_configurations()
    if len(sys.argv) > 1:
        adapterhub_configurations(sys.argv[1])


main()
