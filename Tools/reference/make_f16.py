#!/usr/bin/env python3
"""Turns a GGUF file into a float16 model directory through transformers: config, tokenizer and model.safetensors."""
import argparse
import json
import os

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gguf", help="the GGUF file")
    parser.add_argument("output", help="model directory to write")
    options = parser.parse_args()
    folder, name = os.path.split(os.path.abspath(options.gguf))
    read = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    # A model that came from a quantised file refuses .half(), so its values move into a fresh one.
    fresh = type(read)(read.config)
    fresh.load_state_dict(read.state_dict())
    fresh.half().save_pretrained(options.output)
    # The configuration still says that the values came from a GGUF file.
    path = os.path.join(options.output, "config.json")
    with open(path) as file:
        config = json.load(file)
    config.pop("quantization_config", None)
    with open(path, "w") as file:
        json.dump(config, file, indent=2)
    AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(options.output)


if __name__ == "__main__":
    main()
