#!/usr/bin/env python3
"""Loss and gradient of every LoRA tensor by PyTorch autograd, in float64 on the dequantised weights of a store.

The loss is the mean over all predicted tokens of all lines. The safetensors file holds the gradients under the names
that PEFT's adapter files use; the loss is printed.
"""
import argparse

from safetensors.torch import save_file

import store


def gradients_of(name, adapter, blocks):
    """Mean loss of the blocks, the number of tokens it is the mean of, and the gradients by PEFT's names."""
    # in double precision, because fp32 itself is off by up to 7e-4 in some tensors
    model = store.load_with_adapter(name, adapter).double().eval()
    with store.DoublePrecision():
        loss, count = store.mean_loss(model, blocks)
        loss.backward()
    return loss.item(), count, store.adapter_tensors(model, of=lambda parameter: parameter.grad.float())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", help="model directory: nf4, int8, int4 or floating point")
    parser.add_argument("adapter", help="PEFT adapter folder")
    parser.add_argument("tokens", help="JSONL file with input_ids")
    parser.add_argument("output", help="safetensors file to write")
    options = parser.parse_args()
    loss, count, gradients = gradients_of(options.store, options.adapter, store.read_blocks(options.tokens))
    save_file(gradients, options.output)
    print(f"loss {loss:.6f} over {count} tokens, {len(gradients)} gradients")


if __name__ == "__main__":
    main()
