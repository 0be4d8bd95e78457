#!/usr/bin/env python3
"""Writes folders of Tests/TransformerTests/Golden for the model families: tiny random models with the options at which
families differ, a PEFT adapter of rank 2 on all linear layers for each, and what PyTorch makes of both in float64:
logits, loss and the gradient of every LoRA tensor. Models with labels also have a head that is trained whole. transformer.py writes samples.json, which holds the sequences.

usage: families.py [NAME...]
Needs torch, transformers, peft and safetensors.
"""
import json
import pathlib
import shutil
import sys

import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoModelForTokenClassification

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tools" / "reference"))

from families import old_gemma, old_neox, old_rope, rope, spread
from store import DoublePrecision

GOLDEN = ROOT / "Tests" / "TransformerTests" / "Golden"
TOKENS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0, "vocab_size": 67}
GATED = TOKENS | {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
                  "num_key_value_heads": 2, "max_position_embeddings": 64}
SHORT = GATED | {"num_hidden_layers": 1}
GPT2 = TOKENS | {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 24}
OPT = TOKENS | {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "ffn_dim": 64,
                "max_position_embeddings": 24}
NEOX = TOKENS | {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 64,
                 "max_position_embeddings": 24}

# Name of the folder: family, configuration, and a function that changes the written config.json.
VARIANTS = {
    "llama-biases": ("Llama", SHORT | {"attention_bias": True, "mlp_bias": True,
                                       "hidden_act": "gelu_pytorch_tanh"}, None),
    "llama-yarn": ("Llama", SHORT | {"tie_word_embeddings": True, "head_dim": 16, "rope_parameters": rope(
        "yarn", 100.0, factor=4.0, original_max_position_embeddings=16, beta_fast=4, beta_slow=1, truncate=False,
        mscale=1.5, mscale_all_dim=0.5)}, None),
    # Dynamic scaling changes nothing within the positions that the model was made for, and no text goes past them.
    "llama-dynamic": ("Llama", SHORT | {"tie_word_embeddings": True, "head_dim": 16, "max_position_embeddings": 18,
                                        "rope_parameters": rope("dynamic", 100.0, factor=3.0)}, None),
    "llama-longrope": ("Llama", SHORT | {"tie_word_embeddings": True, "head_dim": 16, "rope_parameters": rope(
        "longrope", 100.0, short_factor=spread(8, 1.0, 1.8), long_factor=spread(8, 1.1, 6.0),
        original_max_position_embeddings=10)}, None),
    "mistral-window": ("Mistral", SHORT | {"sliding_window": 4, "head_dim": 16, "num_key_value_heads": 1,
                                           "tie_word_embeddings": True}, None),
    "qwen2-window": ("Qwen2", GATED | {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1,
                                       "tie_word_embeddings": True}, None),
    "qwen3": ("Qwen3", SHORT | {"head_dim": 16, "num_attention_heads": 6, "num_key_value_heads": 3,
                                "tie_word_embeddings": True}, None),
    "qwen3-window": ("Qwen3", GATED | {"head_dim": 16, "attention_bias": True, "use_sliding_window": True,
                                       "sliding_window": 3,
                                       "layer_types": ["sliding_attention", "full_attention"]}, None),
    "gemma3": ("Gemma3", GATED | {"head_dim": 16, "query_pre_attn_scalar": 10, "sliding_window": 4,
                                  "sliding_window_pattern": 2, "rope_parameters": {
                                      "full_attention": rope("linear", 1e4, factor=4.0),
                                      "sliding_attention": rope("default", 100.0)}}, old_gemma),
    "gemma3-options": ("Gemma3", GATED | {"head_dim": 16, "query_pre_attn_scalar": 40, "sliding_window": 3,
                                          "attention_bias": True, "tie_word_embeddings": False,
                                          "layer_types": ["full_attention", "sliding_attention"]}, None),
    "smollm3": ("SmolLM3", GATED | {"no_rope_layer_interval": 2, "attention_bias": True, "mlp_bias": True}, old_rope),
    "phi3": ("Phi3", GATED | {"original_max_position_embeddings": 5, "tie_word_embeddings": True,
                              "num_attention_heads": 2, "num_key_value_heads": 1, "rope_parameters": rope(
                                  "longrope", 100.0, partial_rotary_factor=0.75, short_factor=spread(6, 1.0, 1.8),
                                  long_factor=spread(6, 1.1, 6.0))}, old_rope),
    "phi3-window": ("Phi3", SHORT | {"original_max_position_embeddings": 64, "sliding_window": 4,
                                     "rope_parameters": rope("default", 100.0)}, None),
    "gpt2": ("GPT2LMHead", GPT2, None),
    "gpt2-options": ("GPT2LMHead", GPT2 | {"n_inner": 64, "activation_function": "gelu", "tie_word_embeddings": False,
                                           "scale_attn_by_inverse_layer_idx": True, "layer_norm_epsilon": 1e-3}, None),
    "opt": ("OPT", OPT, None),
    "opt-350m": ("OPT", OPT | {"hidden_size": 64, "num_hidden_layers": 1, "do_layer_norm_before": False,
                                 "word_embed_proj_dim": 32}, None),
    "opt-bare": ("OPT", OPT | {"num_hidden_layers": 1, "enable_bias": False, "layer_norm_elementwise_affine": False,
                               "activation_function": "gelu"}, None),
    "neox": ("GPTNeoX", NEOX | {"rope_parameters": rope("default", 100.0, partial_rotary_factor=0.25)}, old_neox),
    "neox-sequential": ("GPTNeoX", NEOX | {"use_parallel_residual": False, "attention_bias": False,
                                           "tie_word_embeddings": True, "rope_parameters": rope(
                                               "default", 100.0, partial_rotary_factor=0.5)}, None),
}

LABELS = {"id2label": {0: "down", 1: "level", 2: "up"}, "label2id": {"down": 0, "level": 1, "up": 2}}
ENCODER = {"vocab_size": 67, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
           "max_position_embeddings": 24, "type_vocab_size": 1, "pad_token_id": 0} | LABELS
# Name of the folder: family, configuration, task.
CLASSIFIERS = {
    "bert": ("Bert", ENCODER | {"layer_norm_eps": 1e-3}, "SEQ_CLS"),
    "distilbert": ("DistilBert", {"vocab_size": 67, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64,
                                  "max_position_embeddings": 24, "pad_token_id": 0} | LABELS, "TOKEN_CLS"),
    "roberta": ("Roberta", ENCODER | {"pad_token_id": 1}, "SEQ_CLS"),
    "xlm-roberta": ("XLMRoberta", ENCODER | {"pad_token_id": 1, "hidden_act": "gelu_new"}, "TOKEN_CLS"),
    "qwen3-labels": ("Qwen3", SHORT | {"head_dim": 16, "pad_token_id": 0} | LABELS, "SEQ_CLS"),
}


def fill(model):
    """Weights of a size at which attention is neither flat nor saturated, rounded to half precision."""
    gemma = "Gemma3" in type(model).__name__
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                values = 0.3 * torch.randn_like(parameter)
            elif parameter.ndim == 1:
                values = (0 if gemma else 1) + 0.2 * torch.randn_like(parameter)
            elif any(word in name for word in ("embed", "wte", "wpe", "lm_head")):
                values = 0.3 * torch.randn_like(parameter)
            else:
                inputs = parameter.shape[0 if "GPT2" in type(model).__name__ else 1]
                values = torch.randn_like(parameter) * 1.2 / inputs ** 0.5
            parameter.copy_(values.half().float())


def config_of(family, options):
    stem = family.removesuffix("LMHead") + ("Text" if family == "Gemma3" else "")
    return getattr(transformers, stem + "Config")(**options)


def write(name):
    family, options, rewrite = VARIANTS[name]
    torch.manual_seed(sum(name.encode()))
    folder = GOLDEN / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = config_of(family, options)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    fill(model)
    model.half().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    written = json.loads((folder / "config.json").read_text())
    if rewrite:
        rewrite(written)
    (folder / "config.json").write_text(json.dumps(written, indent=1) + "\n")

    # From the files, so that config.json as it was rewritten is what the numbers belong to.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM",
                                             base_model_name_or_path="tiny"))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_B" in key:
                parameter.normal_(std=0.1)
    model.peft_config["default"].base_model_name_or_path = "tiny"
    model.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink(missing_ok=True)

    model = model.double().eval()
    samples = json.loads((GOLDEN / "samples.json").read_text())
    tokens = [torch.tensor(ids) for ids in samples["tokens"]]
    labels = [torch.tensor(ids) for ids in samples["labels"]]
    with DoublePrecision():
        logits = [model(input_ids=ids[None]).logits[0] for ids in tokens]
        total = sum(torch.nn.functional.cross_entropy(one[:-1], wanted[1:], ignore_index=-100, reduction="sum")
                    for one, wanted in zip(logits, labels))
        loss = total / sum(int((wanted[1:] != -100).sum()) for wanted in labels)
        loss.backward()
    expected = {key.replace(".default.weight", ".weight"): parameter.grad.float()
                for key, parameter in model.named_parameters() if parameter.requires_grad}
    norms = [value.norm().item() for value in expected.values()]
    expected |= {"logits": torch.cat(logits).detach().float(), "loss": loss.detach().float().reshape(1)}
    save_file(expected, folder / "expected")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{name}: loss {loss.item():.5f}, {len(norms)} gradients of {min(norms):.1e} to {max(norms):.1e}, "
          f"{size} bytes")


def write_classifier(name):
    family, options, task = CLASSIFIERS[name]
    torch.manual_seed(sum(name.encode()))
    folder = GOLDEN / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    auto = AutoModelForTokenClassification if task == "TOKEN_CLS" else AutoModelForSequenceClassification
    model = auto.from_config(config_of(family, options), dtype=torch.float32, attn_implementation="eager")
    fill(model)
    model.half().save_pretrained(folder)
    model = auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    encoder = family != "Qwen3"
    targets = ["q_lin", "lin2"] if family == "DistilBert" else ["query", "intermediate.dense"] if encoder else "all-linear"
    model = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, target_modules=targets, task_type=task,
                                             base_model_name_or_path="tiny"))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_B" in key:
                parameter.normal_(std=0.1)
            if "modules_to_save" in key:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.peft_config["default"].base_model_name_or_path = "tiny"
    model.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink(missing_ok=True)

    model = model.double().eval()
    samples = json.loads((GOLDEN / "samples.json").read_text())
    # No token may be padding, which transformers would find the end by.
    tokens = [torch.tensor(ids).clamp(min=2) for ids in samples["tokens"]]
    logits, total, count = [], 0, 0
    with DoublePrecision():
        for index, ids in enumerate(tokens):
            found = model(input_ids=ids[None]).logits[0]
            if task == "TOKEN_CLS":
                wanted = torch.where(ids % 4 == 3, -100, ids % 3)
                logits.append(found[wanted != -100])
                total = total + torch.nn.functional.cross_entropy(found, wanted, ignore_index=-100, reduction="sum")
                count += int((wanted != -100).sum())
            else:
                logits.append(found[None])
                total = total + torch.nn.functional.cross_entropy(found, torch.tensor(index % 3))
                count += 1
        loss = total / count
        loss.backward()
    expected = {key.replace(".default", "").replace(".modules_to_save", ""): parameter.grad.float()
                for key, parameter in model.named_parameters() if parameter.grad is not None}
    expected |= {"logits": torch.cat(logits).detach().float(), "loss": loss.detach().float().reshape(1)}
    save_file(expected, folder / "expected")
    print(f"{name}: loss {loss.item():.5f}, {len(expected) - 2} gradients")


def main():
    transformers.logging.set_verbosity_error()
    for name in sys.argv[1:] or [*VARIANTS, *CLASSIFIERS]:
        (write if name in VARIANTS else write_classifier)(name)


if __name__ == "__main__":
    main()
