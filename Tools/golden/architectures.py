#!/usr/bin/env python3
"""Golden vectors of the model descriptions: transformers' defaults for each family, the frequencies of its rotary
embeddings for every way to stretch them, and the row orders of llama.cpp's conversion.

Writes Tests/ArchitecturesTests/Golden. Needs torch, transformers, numpy.
"""
import json
import pathlib
import sys

import numpy
import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tools" / "reference"))

from families import old_rope, rope, spread

GOLDEN = ROOT / "Tests/ArchitecturesTests/Golden"

# What a configuration must say: sizes that no family's defaults fit.
NEEDED = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 30, "num_attention_heads": 64,
          "vocab_size": 1000}
FAMILIES = {"Llama": NEEDED, "Mistral": NEEDED, "Qwen2": NEEDED, "Qwen3": NEEDED, "SmolLM3": NEEDED, "Phi3": NEEDED,
            "GPT2": {}, "OPT": {}, "Gemma3Text": {}, "GPTNeoX": {}}
MODELS = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}

ROPES = {
    "default": rope("default", 500000.0),
    "linear": rope("linear", 10000.0, factor=2.5),
    "dynamic": rope("dynamic", 10000.0, factor=3.0),
    "llama3": rope("llama3", 500000.0, factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=8192),
    "yarn": rope("yarn", 1000000.0, factor=4.0, original_max_position_embeddings=32768),
    "yarn-options": rope("yarn", 5000.0, factor=8.0, original_max_position_embeddings=64, mscale=1.3,
                         mscale_all_dim=0.7, beta_fast=16, beta_slow=2, truncate=False),
    "yarn-attention": rope("yarn", 10000.0, factor=2.0, original_max_position_embeddings=2048, attention_factor=1.7),
    "longrope": rope("longrope", 10000.0, short_factor=spread(16, 1.0, 1.8), long_factor=spread(16, 1.1, 9.0),
                     original_max_position_embeddings=4096),
    "longrope-factor": rope("longrope", 10000.0, short_factor=spread(16, 1.0, 1.8), long_factor=spread(16, 1.1, 9.0),
                            original_max_position_embeddings=4096, factor=8.0, attention_factor=1.25),
}


def default(name, options):
    config = getattr(transformers, name + "Config")(**options)
    heads = config.num_attention_heads
    layers = range(config.num_hidden_layers)
    types = getattr(config, "layer_types", None) or [
        "sliding_attention" if getattr(config, "sliding_window", None) else "full_attention" for _ in layers]
    parameters = getattr(config, "rope_parameters", None)
    positions = config.max_position_embeddings
    return {
        "config": options | {"architectures": [MODELS.get(name, name + "ForCausalLM")]},
        "vocabulary": config.vocab_size, "hidden": config.hidden_size, "layers": config.num_hidden_layers,
        "heads": heads, "key_value_heads": getattr(config, "num_key_value_heads", None) or heads,
        "head_size": getattr(config, "head_dim", None) or config.hidden_size // heads,
        "intermediate": {"GPT2": 4 * config.hidden_size, "OPT": getattr(config, "ffn_dim", 0)}.get(
            name, getattr(config, "intermediate_size", 0)),
        "activation": getattr(config, "hidden_act", None) or getattr(config, "hidden_activation", None)
        or config.activation_function,
        "epsilon": next((getattr(config, key) for key in ("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps")
                         if hasattr(config, key)), 1e-5),
        "positions": positions, "tied": config.tie_word_embeddings,
        # a window as long as the longest text hides nothing
        "windows": [config.sliding_window if kind == "sliding_attention" and config.sliding_window < positions else None
                    for kind in types],
        "thetas": None if parameters is None else
        [parameters[kind]["rope_theta"] for kind in ("full_attention", "sliding_attention")]
        if "full_attention" in parameters else [parameters["rope_theta"]],
        "rotated": None if parameters is None else parameters.get("partial_rotary_factor", 1),
        "rotating_layers": getattr(config, "no_rope_layers", None) or [0 if parameters is None else 1 for _ in layers],
    }


def frequencies(parameters):
    options = NEEDED | {"num_attention_heads": 16, "max_position_embeddings": 16384, "rope_parameters": dict(parameters)}
    config = transformers.LlamaConfig(**options)
    kind = parameters["rope_type"]
    if kind == "default":
        theta = parameters["rope_theta"]
        plain = 1.0 / theta ** (torch.arange(0, 32, 2, dtype=torch.float64) / 32)
        found = {"short": plain.tolist(), "factor": 1.0}
    else:
        short, factor = ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=1)
        found = {"short": short.double().tolist(), "factor": factor}
        if kind == "longrope":
            found["long"] = ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=16384)[0].double().tolist()
    new = options | {"rope_parameters": parameters, "architectures": ["LlamaForCausalLM"]}
    old = json.loads(json.dumps(new))
    old_rope(old)
    return found | {"new": new, "old": old}


def row_orders():
    """As convert_hf_to_gguf.py reshapes query and key rows of Llama, and query_key_value of GPT-NeoX."""
    result = []
    for heads, size in [(1, 8), (2, 8), (3, 16), (8, 4)]:
        rows = numpy.arange(heads * size)
        halves = rows.reshape(heads, 2, size // 2).swapaxes(1, 2).reshape(-1)
        result.append({"order": "alternatingHalves", "heads": heads, "rows": halves.tolist()})
        rows = numpy.arange(3 * heads * size).reshape(heads, 3, size)
        split = numpy.concatenate([rows[:, part].reshape(-1) for part in range(3)])
        result.append({"order": "byProjection", "heads": heads, "rows": split.tolist()})
    return result


def main():
    GOLDEN.mkdir(parents=True, exist_ok=True)

    def write(name, value):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        lines = [(json.dumps(key) + ": " if isinstance(value, dict) else "") + json.dumps(item) for key, item in items]
        ends = "{}" if isinstance(value, dict) else "[]"
        (GOLDEN / name).write_text(ends[0] + "\n" + ",\n".join(lines) + "\n" + ends[1] + "\n")

    write("defaults.json", {name: default(name, options) for name, options in FAMILIES.items()})
    write("rotations.json", {name: frequencies(parameters) for name, parameters in ROPES.items()})
    write("row-orders.json", row_orders())


if __name__ == "__main__":
    main()
