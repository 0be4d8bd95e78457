#!/usr/bin/env python3
"""Loss and gradient of every LoRA tensor by PyTorch autograd, in float64 on the dequantised weights of a store.

The loss is the mean over all predicted tokens of all lines. The safetensors file holds the gradients under the names
that PEFT's adapter files use; the loss is printed.
"""
import argparse

from safetensors.torch import save_file

import store


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", help="model directory: nf4, int8, int4 or floating point")
    parser.add_argument("adapter", help="PEFT adapter folder")
    parser.add_argument("tokens", help="JSONL file with input_ids")
    parser.add_argument("output", help="safetensors file to write")
    options = parser.parse_args()
    # in double precision, because fp32 itself is off by up to 7e-4 in some tensors
    model = store.load_with_adapter(options.store, options.adapter).double().eval()
    loss, count = store.mean_loss(model, store.read_blocks(options.tokens))
    loss.backward()
    gradients = store.adapter_tensors(model, of=lambda parameter: parameter.grad.float())
    save_file(gradients, options.output)
    print(f"loss {loss.item():.6f} over {count} tokens, {len(gradients)} gradients")


if __name__ == "__main__":
    main()
