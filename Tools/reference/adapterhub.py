#!/usr/bin/env python3
"""Bottleneck adapters as AdapterHub's `adapters` makes, reads and trains them, on the float32 weights of a store.

    adapterhub.py make STORE FOLDER CONFIG NAME    an adapter with random parameters; CONFIG as `seq_bn[reduction_factor=4]`
    adapterhub.py measure STORE FOLDER[,PARALLEL] TOKENS ROWS OUTPUT    logits, gradients in float64, and the losses of 20 steps

Models that AdapterHub has no classes and no interface for get one here (INTERFACES); a folder that holds an interface, as
ours do, is loaded by that one.

AdapterHub computes with one bottleneck at a place. For a serial and a parallel one at once its two modules are put side by
side here, as AutoPEFT has them: both read what the block has without the other, and both add to its sum.

Runs in an environment of its own: `python3 -m venv --system-site-packages DIR; DIR/bin/pip install adapters==1.3.0`.
"""
import pathlib
import sys

import torch
from safetensors.torch import save_file

import adapters
from adapters import AdapterModelInterface
from adapters.methods.bottleneck import BottleneckLayer
import store as reference
import train_peft

NAME, SECOND = "tiny", "parallel"
ALONE = BottleneckLayer.bottleneck_layer_forward


def side_by_side(self, hidden_states, residual_input, layer_norm):
    """What a block makes with all of its adapters: `hidden_states` is what the block adds to `residual_input`."""
    here = [self.adapters[name] for name in (NAME, SECOND) if name in self.adapters]
    if len(here) < 2:
        return ALONE(self, hidden_states, residual_input, layer_norm)
    total = hidden_states
    for adapter in here:
        read, _, residual = adapter.pre_forward(hidden_states, residual_input, layer_norm)
        made = adapter(read, residual_input=residual)[0]
        # Only a serial one has what it was beside in its output.
        total = total + (made if type(adapter).__name__ == "ParallelAdapter" else made - residual)
    return here[0].post_forward(total, hidden_states, residual_input, layer_norm)


BottleneckLayer.bottleneck_layer_forward = side_by_side


def interface(attention="self_attn", output="o_proj", inner="mlp.up_proj", last="mlp.down_proj", embedding="embed_tokens",
              fused=None):
    separate = {} if fused else {f"attn_{one}_proj": f"{one}_proj" for one in "qkv"}
    return AdapterModelInterface(
        adapter_methods=["bottleneck"], model_embeddings=embedding, model_layers="layers", layer_self_attn=attention,
        layer_cross_attn=None, attn_o_proj=output, layer_intermediate_proj=inner, layer_output_proj=last,
        attn_qkv_proj=fused, layer_pre_self_attn="input_layernorm", layer_pre_ffn="post_attention_layernorm", **separate)


INTERFACES = {
    "gpt_neox": interface("attention", "dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", "embed_in", "query_key_value"),
    "smollm3": interface(),
}


def init(model, folder=None):
    if folder and (pathlib.Path(folder) / "adapter_interface.json").exists():
        adapters.init(model, interface=AdapterModelInterface._load(str(folder)))
    else:
        adapters.init(model, interface=INTERFACES.get(model.config.model_type))


def model_of(store, folder=None):
    model = reference.load_model(store)
    init(model, folder)
    return model


def make(store, folder, config, made):
    torch.manual_seed(7)
    model = model_of(store)
    model.add_adapter(made, config=config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if f".{made}." in name:
                parameter.normal_(std=0.1)
    model.save_adapter(folder, made, with_head=False, use_safetensors=True)


def load(store, folders):
    model = model_of(store, folders.split(",")[0])
    names = [name for name, _ in zip((NAME, SECOND), folders.split(","))]
    for name, folder in zip(names, folders.split(",")):
        model.load_adapter(folder, load_as=name, with_head=False, use_safetensors=True)
    model.train_adapter(adapters.composition.Stack(*names))
    return model.eval()


def measure(store, folders, tokens, rows, output):
    losses = [told["loss"] for told in train_peft.train(load(store, folders), reference.read_blocks(rows), 20, 4, 2e-3)]
    model = load(store, folders).double()
    blocks = reference.read_blocks(tokens)
    with reference.DoublePrecision():
        reference.mean_loss(model, blocks)[0].backward()
    told = {f"gradient.{name.replace(f'.adapters.{NAME}.', '.adapters.NAME.')}": parameter.grad.contiguous()
            for name, parameter in model.named_parameters() if parameter.grad is not None and ".adapters." in name}
    logits = reference.logits_in_double(model, blocks)
    save_file(told | {"losses": torch.tensor(losses), "logits": torch.cat(logits).contiguous()}, output)


if __name__ == "__main__":
    {"make": make, "measure": measure}[sys.argv[1]](*sys.argv[2:])
