#!/usr/bin/env python3
"""Golden vectors of the weight store: what bitsandbytes, compressed-tensors and transformers make of small tensors.

Writes into Tests/WeightStoreTests/Golden. Needs torch, bitsandbytes, compressed-tensors, gguf, safetensors, numpy.
"""
import json
import pathlib

import bitsandbytes.functional as functional
import gguf
import numpy
import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
from safetensors.torch import save_file

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "Tests/WeightStoreTests/Golden"
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 64,
    "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 40,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "dtype": "float16",
}
Q_PROJ = "model.layers.0.self_attn.q_proj"


def uniform(count, seed):
    """Numbers from 0 to 1 that a test can make too: a multiplicative hash of the index, 24 bits of it."""
    index = numpy.arange(count, dtype=numpy.uint64) + seed * 1_000_003
    return torch.from_numpy((((index * 2654435761) % 2**32) >> 8).astype(numpy.float32) / 2**24)


def nf4():
    """Blocks of zeros, of one value, of halves of each code's range, of extremes, and of ordinary weights."""
    torch.manual_seed(1)
    code = functional.get_4bit_type("nf4", device="cpu")
    middles = (code[1:] + code[:-1]) / 2
    tensors = {}
    for name, dtype in [("f16", torch.float16), ("bf16", torch.bfloat16), ("f32", torch.float32)]:
        values = torch.randn(16, 64) * 0.05
        values[1] = 0
        values[2] = 0
        values[2, 5] = -3
        values[3] = torch.cat([code, middles, -code, -middles, torch.zeros(2)])
        values[4] = values[3] * 0.37
        values[5] *= 1e-7
        values[6] *= 1e5
        if dtype != torch.float16:
            values[7] *= 1e-36
            values[8] *= 1e36
        values[9, 1:] = 0
        values = values.to(dtype)
        packed, state = functional.quantize_4bit(values, blocksize=64, quant_type="nf4")
        tensors |= {f"{name}.input": values, f"{name}.packed": packed, f"{name}.absmax": state.absmax}
    save_file(tensors, GOLDEN / "nf4.safetensors")


def nested():
    """Double quantisation of block maxima; the long ones hold only results, a test makes their input."""
    torch.set_num_threads(1)
    tensors = {}
    for count in [1, 7, 255, 256, 257, 700]:
        maxima = torch.rand(count, generator=torch.Generator().manual_seed(count)) * 0.1 + 0.02
        if count == 257:
            maxima[:] = 0.125
        offset = maxima.mean()
        codes, state = functional.quantize_blockwise(maxima - offset, blocksize=256)
        tensors |= {f"{count}.input": maxima, f"{count}.codes": codes, f"{count}.absmax": state.absmax,
                    f"{count}.offset": offset.reshape(1)}
    for count in [9999, 33333, 100_000]:
        tensors[f"{count}.mean"] = uniform(count, 5).mean().reshape(1)
    save_file(tensors, GOLDEN / "nested.safetensors")


def store(name, tensors, expected, quantization):
    folder = GOLDEN / name
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    save_file({"expected": expected.contiguous()}, folder / "expected")
    (folder / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": quantization}, indent=1) + "\n")


def stores():
    """One linear layer in each layout that other programs write."""
    torch.manual_seed(2)
    weight = (torch.randn(32, 32) * 0.1).to(torch.bfloat16)
    for name, double in [("bitsandbytes-nf4", False), ("bitsandbytes-nf4-double", True)]:
        packed, state = functional.quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=double)
        tensors = {f"{Q_PROJ}.weight": packed}
        tensors |= {f"{Q_PROJ}.weight.{key}": value.clone() for key, value in state.as_dict(packed=True).items()}
        absmax = state.absmax
        if double:
            absmax = functional.dequantize_blockwise(state.absmax, state.state2) + state.offset
        # Not `dequantize_4bit`: its CPU library takes blocks to start anew in each row, which holds from 64 columns on.
        decoded = _dequantize_4bit_compute(packed.flatten(), absmax, state.code, 64, (32, 32), torch.float32)
        store(name, tensors, decoded,
              {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
               "bnb_4bit_use_double_quant": double})
    codes = torch.randint(-127, 128, (32, 32), dtype=torch.int8)
    scales = torch.rand(32, 1).to(torch.bfloat16) * 0.01
    store("compressed-int8", {f"{Q_PROJ}.weight": codes, f"{Q_PROJ}.weight_scale": scales},
          codes.float() * scales.float(), {"quant_method": "compressed-tensors", "format": "int-quantized"})
    codes = torch.randint(-8, 8, (32, 32), dtype=torch.int8)
    scales = torch.rand(32, 1).to(torch.float16) * 0.01
    store("compressed-int4",
          {f"{Q_PROJ}.weight_packed": pack_to_int32(codes, 4), f"{Q_PROJ}.weight_scale": scales,
           f"{Q_PROJ}.weight_shape": torch.tensor([32, 32])},
          codes.float() * scales.float(), {"quant_method": "compressed-tensors", "format": "pack-quantized"})


def interleave(weight, heads):
    """The order of rows that llama.cpp's converter gives to query and key weights."""
    size = weight.shape[0] // heads
    return weight.reshape(heads, 2, size // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def gguf_model():
    """A model of one layer as GGUF, with Llama 3's rotary factors, and its tensors under Hugging Face's names."""
    random = numpy.random.default_rng(3)
    shapes = {
        "model.embed_tokens": ("token_embd", (40, 32)), f"{Q_PROJ}": ("blk.0.attn_q", (32, 32)),
        "model.layers.0.self_attn.k_proj": ("blk.0.attn_k", (16, 32)),
        "model.layers.0.self_attn.v_proj": ("blk.0.attn_v", (16, 32)),
        "model.layers.0.self_attn.o_proj": ("blk.0.attn_output", (32, 32)),
        "model.layers.0.mlp.gate_proj": ("blk.0.ffn_gate", (64, 32)),
        "model.layers.0.mlp.up_proj": ("blk.0.ffn_up", (64, 32)),
        "model.layers.0.mlp.down_proj": ("blk.0.ffn_down", (32, 64)),
        "model.layers.0.input_layernorm": ("blk.0.attn_norm", (32,)),
        "model.layers.0.post_attention_layernorm": ("blk.0.ffn_norm", (32,)), "model.norm": ("output_norm", (32,)),
    }
    writer = gguf.GGUFWriter(GOLDEN / "tiny.gguf", "llama")
    writer.add_context_length(131072)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500000.0)
    writer.add_tokenizer_model("llama")
    tokens = ["<unk>", "<s>", "</s>"] + [chr(ord("!") + index) for index in range(37)]
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 3 + [-float(index) for index in range(37)])
    writer.add_token_types([2, 3, 3] + [1] * 37)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    expected = {}
    for name, (stored, shape) in shapes.items():
        values = random.standard_normal(shape).astype(numpy.float16)
        expected[name + ".weight"] = torch.from_numpy(values)
        if name.endswith("q_proj"):
            values = interleave(values, 2)
        elif name.endswith("k_proj"):
            values = interleave(values, 1)
        values = numpy.ascontiguousarray(values)
        writer.add_tensor(stored + ".weight", values.astype(numpy.float32) if values.ndim == 1 else values)
    # As llama.cpp's converter computes them.
    factors = []
    for index in range(8):
        wavelength = 2 * numpy.pi * 500000.0 ** (2 * index / 16)
        if wavelength < 8192 / 4:
            factors.append(1.0)
        elif wavelength > 8192:
            factors.append(32.0)
        else:
            smooth = (8192 / wavelength - 1) / (4 - 1)
            factors.append(1 / ((1 - smooth) / 32.0 + smooth))
    writer.add_tensor("rope_freqs.weight", numpy.array(factors, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, GOLDEN / "tiny-gguf-expected.safetensors")


if __name__ == "__main__":
    nf4()
    nested()
    stores()
    gguf_model()
