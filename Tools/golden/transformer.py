#!/usr/bin/env python3
"""Writes Tests/TransformerTests/Golden: tiny random models of every kind, a PEFT adapter for each, and what PyTorch
makes of both in float64: logits, loss and the gradient of every LoRA tensor.

Needs torch, transformers, peft and safetensors.
"""
import json
import pathlib

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "Tests" / "TransformerTests" / "Golden"
VOCABULARY = 64

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 32,
    "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "vocab_size": VOCABULARY, "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False, "dtype": "float16",
    "bos_token_id": 0, "eos_token_id": 1}
# Small theta and context put some frequencies into each of the three bands that Llama 3 scales differently.
LLAMA3_ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64}

# Name of the folder: changes of the configuration, changes of the adapter.
VARIANTS = {
    "llama": ({}, {}),
    "separate-head": ({"tie_word_embeddings": False}, {}),
    "qwen2-bias": ({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "rms_norm_eps": 1e-6},
                   {"use_rslora": True}),
    "mistral-head-dim": ({"architectures": ["MistralForCausalLM"], "model_type": "mistral", "head_dim": 16,
                          "num_key_value_heads": 1, "sliding_window": None},
                         {"target_modules": r"model\.layers\.\d+\.(self_attn\.[qo]_proj|mlp\.down_proj)"}),
    "linear-rope": ({"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, {"target_modules": ["q_proj", "k_proj"]}),
    "llama3-rope": ({"rope_theta": 50.0, "head_dim": 16, "num_attention_heads": 2, "num_key_value_heads": 1,
                     "rope_scaling": LLAMA3_ROPE}, {"target_modules": ["q_proj", "k_proj"]}),
    "hidden-96": ({"hidden_size": 96, "intermediate_size": 32, "num_attention_heads": 4, "num_key_value_heads": 1},
                  {"r": 2}),
}


def samples():
    """Three sequences; the first four tokens of the first one carry no loss."""
    torch.manual_seed(5)
    tokens = [torch.randint(VOCABULARY, (length,)) for length in (11, 7, 16)]
    labels = [ids.clone() for ids in tokens]
    labels[0][:4] = -100
    return tokens, labels


def fill(model):
    """Weights of a size at which attention is neither flat nor saturated, rounded to half precision."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                values = 1 + 0.2 * torch.randn_like(parameter)
            elif name.endswith("bias"):
                values = 0.5 * torch.randn_like(parameter)
            elif "embed_tokens" in name or "lm_head" in name:
                values = 0.3 * torch.randn_like(parameter)
            else:
                values = torch.randn_like(parameter) * 1.2 / parameter.shape[1] ** 0.5
            parameter.copy_(values.half().float())


def write(name, changes, adapter):
    torch.manual_seed(sum(name.encode()))
    folder = GOLDEN / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(LLAMA | changes, indent=1) + "\n")
    config = AutoConfig.from_pretrained(folder)
    config.dtype = torch.float32
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    fill(model)
    tied = config.tie_word_embeddings
    save_file({key: value.half().contiguous() for key, value in model.state_dict().items()
               if not (tied and key == "lm_head.weight")}, folder / "model.safetensors", metadata={"format": "pt"})
    model = get_peft_model(model, LoraConfig(**({
        "r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "tiny"} | adapter)))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_B" in key:
                parameter.normal_(std=0.1)
    model.peft_config["default"].base_model_name_or_path = "tiny"
    model.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink(missing_ok=True)

    model = model.double().eval()
    tokens, labels = samples()
    logits = [model(input_ids=ids[None]).logits[0] for ids in tokens]
    total = sum(torch.nn.functional.cross_entropy(one[:-1], wanted[1:], ignore_index=-100, reduction="sum")
                for one, wanted in zip(logits, labels))
    loss = total / sum(int((wanted[1:] != -100).sum()) for wanted in labels)
    loss.backward()
    expected = {key.replace(".default.weight", ".weight"): parameter.grad.float()
                for key, parameter in model.named_parameters() if parameter.requires_grad}
    expected |= {"logits": torch.cat(logits).detach().float(), "loss": loss.detach().float().reshape(1)}
    save_file(expected, folder / "expected")
    print(f"{name}: loss {loss.item():.5f}, {len(expected) - 2} gradients")


def main():
    tokens, labels = samples()
    GOLDEN.mkdir(parents=True, exist_ok=True)
    (GOLDEN / "samples.json").write_text(json.dumps(
        {"tokens": [ids.tolist() for ids in tokens], "labels": [ids.tolist() for ids in labels]}) + "\n")
    for name, (changes, adapter) in VARIANTS.items():
        write(name, changes, adapter)


if __name__ == "__main__":
    main()
