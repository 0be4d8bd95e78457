"""Small random models of every family, with the options and shapes at which a mistake shows."""
import dataclasses
import json
import shutil

import torch
import transformers
from safetensors.torch import load_file, save_file

VOCABULARY = 1027  # odd, and more than the tokenizer's 1024
TOKENS = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}


@dataclasses.dataclass
class Case:
    """One model: what it is made of, and how it is checked."""

    about: str
    family: str                     # the transformers class without its ending
    options: dict
    dtype: torch.dtype = torch.float16
    rewrite: object = None          # a function that changes the saved config.json
    stores: tuple = ("nf4", "int8", "f16")
    lengths: dict = dataclasses.field(default_factory=lambda: {"long": [48, 48], "short": [17]})
    targets: object = "all-linear"  # of the adapter that gradients are compared with
    whole: bool = True              # False: logits and gradients only


ALL = ("nf4", "int8", "f16", "int4")


def old_rope(config):
    """The keys that transformers 4 wrote."""
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    if rope["rope_type"] == "default":
        config["rope_scaling"] = None
    else:
        config["rope_scaling"] = {("type" if key == "rope_type" else key): value for key, value in rope.items()}


def old_gemma(config):
    text = config.get("text_config", config)
    rope = text.pop("rope_parameters")
    text["rope_theta"] = rope["full_attention"].pop("rope_theta")
    text["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
    scaled = rope["full_attention"]["rope_type"] != "default"
    text["rope_scaling"] = rope["full_attention"] if scaled else None
    text["sliding_window_pattern"] = text.pop("_sliding_window_pattern")
    del text["layer_types"]


def old_neox(config):
    rope = config.pop("rope_parameters")
    config["rotary_emb_base"], config["rotary_pct"] = rope["rope_theta"], rope["partial_rotary_factor"]


def unused_window(config):
    """A window that the configuration says not to use."""
    config["sliding_window"], config["max_window_layers"] = 5, 1


def without_head_dim(config):
    del config["head_dim"]


def rope(kind, theta=10000.0, **more):
    return {"rope_type": kind, "rope_theta": theta, **more}


def spread(count, low, high):
    """`count` growing factors."""
    return [round(low + (high - low) * i / (count - 1), 3) for i in range(count)]


GATED = {"num_hidden_layers": 3, "vocab_size": VOCABULARY, "max_position_embeddings": 256}
VISION = {"model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
          "num_attention_heads": 2, "image_size": 28, "patch_size": 14}

CASES = {
    "llama-llama3": Case("llama3 rope in old keys, separate head, f32", "Llama", GATED | {
        "hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 4, "num_key_value_heads": 2,
        "rope_parameters": rope("llama3", 500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                original_max_position_embeddings=64)}, rewrite=old_rope, dtype=torch.float32),
    "llama-biases": Case("biases everywhere, linear rope in old keys, gelu, tied", "Llama", GATED | {
        "hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 6, "num_key_value_heads": 2,
        "attention_bias": True, "mlp_bias": True, "hidden_act": "gelu", "tie_word_embeddings": True,
        "rope_parameters": rope("linear", factor=2.5)}, rewrite=old_rope, stores=ALL),
    "llama-yarn": Case("yarn rope with mscale, separate head, bfloat16", "Llama", GATED | {
        "hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 4, "num_key_value_heads": 1,
        "head_dim": 40, "rms_norm_eps": 1e-5, "rope_parameters": rope(
            "yarn", 5000.0, factor=8.0, original_max_position_embeddings=32, mscale=1.3, mscale_all_dim=0.7,
            beta_fast=16, beta_slow=2, truncate=False)}, dtype=torch.bfloat16),
    "llama-dynamic": Case("dynamic rope past its length", "Llama", GATED | {
        "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 40, "tie_word_embeddings": True, "rope_parameters": rope("dynamic", factor=3.0)},
        stores=("f16",)),
    "llama-longrope": Case("longrope on both sides of its length", "Llama", GATED | {
        "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": 160, "rope_parameters": rope(
            "longrope", short_factor=spread(16, 1.0, 1.8), long_factor=spread(16, 1.1, 9.0),
            original_max_position_embeddings=40)}, stores=("f16",)),
    "llama-long": Case("one row of 2,100 tokens", "Llama", GATED | {
        "num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2,
        "num_key_value_heads": 1, "max_position_embeddings": 4096, "tie_word_embeddings": True,
        "rope_parameters": rope("llama3", 500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                original_max_position_embeddings=512)},
        stores=("f16",), lengths={"long": [2100]}, whole=False),
    "mistral-whole": Case("no window", "Mistral", GATED | {
        "hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 2, "num_key_value_heads": 1,
        "sliding_window": None}),
    "mistral-window": Case("window of 7, wide heads, tied", "Mistral", GATED | {
        "hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 4, "num_key_value_heads": 1,
        "head_dim": 40, "sliding_window": 7, "tie_word_embeddings": True}, rewrite=old_rope, stores=ALL),
    "mistral-wide": Case("window of 33, no grouped queries, separate head, hidden size no multiple of the heads",
                         "Mistral", GATED | {
        "hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 5, "num_key_value_heads": 5,
        "head_dim": 32, "sliding_window": 33}),
    "qwen2-window": Case("window from the second layer on, old yarn keys", "Qwen2", GATED | {
        "hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 3, "num_key_value_heads": 1,
        "use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1, "tie_word_embeddings": True,
        "rope_parameters": rope("yarn", 1e6, factor=4.0, original_max_position_embeddings=64)}, rewrite=old_rope,
        stores=ALL),
    "qwen2-unused-window": Case("a window that is not used", "Qwen2", GATED | {
        "hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 4, "num_key_value_heads": 4},
        rewrite=unused_window, dtype=torch.bfloat16),
    "qwen3-plain": Case("hidden size no multiple of the heads", "Qwen3", GATED | {
        "hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 5, "num_key_value_heads": 1, "head_dim": 32,
        "tie_word_embeddings": True, "rope_parameters": rope("default", 1e6)}, rewrite=old_rope, stores=ALL),
    "qwen3-window": Case("layer types, biases, yarn with its attention factor, separate head", "Qwen3", GATED | {
        "hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 40, "attention_bias": True, "use_sliding_window": True, "sliding_window": 5, "rms_norm_eps": 1e-5,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "rope_parameters": rope("yarn", factor=4.0, original_max_position_embeddings=32, attention_factor=1.2)}),
    "gemma3-old": Case("old keys, scaled rope on whole layers, window of 6", "Gemma3", GATED | {
        "hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 64,
        "query_pre_attn_scalar": 40, "sliding_window": 6, "sliding_window_pattern": 2, "rope_parameters": {
            "full_attention": rope("linear", 1e6, factor=8.0), "sliding_attention": rope("default", 1e4)}},
        rewrite=old_gemma, dtype=torch.bfloat16, stores=ALL),
    "gemma3-options": Case("biases, silu, separate head, layer types", "Gemma3", GATED | {
        "hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 32, "query_pre_attn_scalar": 100, "sliding_window": 9, "attention_bias": True,
        "hidden_activation": "silu", "tie_word_embeddings": False, "rms_norm_eps": 1e-5,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"], "rope_parameters": {
            "full_attention": rope("default", 50000.0), "sliding_attention": rope("default", 500.0)}}),
    "gemma3-images": Case("the text part of a model with images", "Gemma3ForConditionalGeneration", {
        "text_config": GATED | TOKENS | {
            "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2, "num_key_value_heads": 1,
            "head_dim": 32, "query_pre_attn_scalar": 48, "sliding_window": 6, "sliding_window_pattern": 3},
        "vision_config": VISION, "mm_tokens_per_image": 4, "image_token_index": 1026, "boi_token_index": 1024,
        "eoi_token_index": 1025},
        targets=r"(?!.*vision_tower).*\.(q|k|v|o|gate|up|down)_proj", stores=("nf4", "f16"), whole=False),
    "smollm3-interval": Case("every second layer without rope, biases, tied", "SmolLM3", GATED | {
        "hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 3, "num_key_value_heads": 1,
        "no_rope_layer_interval": 2, "attention_bias": True, "mlp_bias": True}, rewrite=old_rope, stores=ALL),
    "smollm3-window": Case("layers without rope listed and windowed, yarn, separate head", "SmolLM3", GATED | {
        "hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 4, "num_key_value_heads": 4,
        "no_rope_layers": [0, 1, 1], "use_sliding_window": True, "sliding_window": 6, "tie_word_embeddings": False,
        "rope_parameters": rope("yarn", 2e6, factor=2.0, original_max_position_embeddings=64)}),
    "phi3-longrope": Case("partial rotary longrope past its length, old keys, tied", "Phi3", GATED | {
        "hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 3, "num_key_value_heads": 1,
        "original_max_position_embeddings": 40, "tie_word_embeddings": True, "rope_parameters": rope(
            "longrope", partial_rotary_factor=0.75, short_factor=spread(12, 1.0, 1.8),
            long_factor=spread(12, 1.1, 9.0))},
        rewrite=old_rope, dtype=torch.bfloat16, stores=ALL),
    "phi3-window": Case("window of 6, gelu, separate head, half of a head rotated", "Phi3", GATED | {
        "hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 4, "num_key_value_heads": 2,
        "original_max_position_embeddings": 256, "sliding_window": 6, "hidden_act": "gelu",
        "rope_parameters": rope("default", 3000.0, partial_rotary_factor=0.5)}),
    "gpt2-tied": Case("as published: gelu_new, four times as wide inside, tied", "GPT2LMHead", {
        "vocab_size": VOCABULARY, "n_embd": 96, "n_head": 4, "n_layer": 3, "n_positions": 64}, stores=ALL),
    "gpt2-options": Case("exact gelu, own inner size, scale by layer, separate head, f32", "GPT2LMHead", {
        "vocab_size": VOCABULARY, "n_embd": 128, "n_head": 2, "n_layer": 3, "n_positions": 64, "n_inner": 160,
        "activation_function": "gelu", "scale_attn_by_inverse_layer_idx": True, "tie_word_embeddings": False,
        "layer_norm_epsilon": 1e-3}, dtype=torch.float32),
    "opt-before": Case("norm before, relu, tied", "OPT", {
        "vocab_size": VOCABULARY, "hidden_size": 96, "num_attention_heads": 4, "num_hidden_layers": 3, "ffn_dim": 160,
        "max_position_embeddings": 64}, stores=ALL),
    "opt-350m": Case("norm after, embedding projected in and out", "OPT", {
        "vocab_size": VOCABULARY, "hidden_size": 128, "num_attention_heads": 2, "num_hidden_layers": 3, "ffn_dim": 192,
        "max_position_embeddings": 64, "do_layer_norm_before": False, "word_embed_proj_dim": 64}),
    "opt-bare": Case("no biases, norms without parameters, gelu, separate head", "OPT", {
        "vocab_size": VOCABULARY, "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 3, "ffn_dim": 96,
        "max_position_embeddings": 64, "enable_bias": False, "layer_norm_elementwise_affine": False,
        "activation_function": "gelu", "tie_word_embeddings": False, "_remove_final_layer_norm": True},
        stores=("nf4", "f16")),
    "neox-parallel": Case("parallel, a quarter of a head rotated, old keys", "GPTNeoX", {
        "vocab_size": VOCABULARY, "hidden_size": 96, "num_attention_heads": 3, "num_hidden_layers": 3,
        "intermediate_size": 160, "max_position_embeddings": 64,
        "rope_parameters": rope("default", partial_rotary_factor=0.25)}, rewrite=old_neox, stores=ALL),
    "neox-sequential": Case("sequential, whole heads, linear rope, no attention biases, gelu_new, tied", "GPTNeoX", {
        "vocab_size": VOCABULARY, "hidden_size": 128, "num_attention_heads": 4, "num_hidden_layers": 3,
        "intermediate_size": 192, "max_position_embeddings": 64, "use_parallel_residual": False,
        "attention_bias": False, "hidden_act": "gelu_new", "tie_word_embeddings": True, "layer_norm_eps": 1e-4,
        "rope_parameters": rope("linear", 2000.0, factor=1.5, partial_rotary_factor=1.0)}),
}


def plain_ids(tokenizer):
    """Tokens whose text is printable ASCII, so that generated text says which tokens it was made of."""
    texts = {token: tokenizer.decode([token]) for token in range(len(tokenizer))}
    return [token for token, text in texts.items()
            if token > 2 and text.isascii() and text.isprintable() and text.strip()]


# Layers that write into the residual stream. Their outputs outweigh the embedding, or a tied model repeats its input.
WRITING = ("o_proj", "down_proj", "c_proj", "out_proj", "fc2", "dense", "dense_4h_to_h")


def make(case):
    """The model of a case, with norms and biases random too, so that one that is left out is noticed."""
    name = case.family if case.family.endswith("Generation") else case.family + (
        "Model" if case.family.endswith("Head") else "ForCausalLM")
    stem = case.family.removesuffix("ForConditionalGeneration").removesuffix("LMHead")
    text = "Text" if case.family == "Gemma3" else ""
    config = getattr(transformers, f"{stem}{text}Config")(**TOKENS, **case.options)
    model = getattr(transformers, name)(config)
    torch.manual_seed(5)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.ndim == 1:
                centre = 0 if key.endswith("bias") or "Gemma3" in name else 1
                parameter.copy_(torch.randn_like(parameter) * 0.3 + centre)
            else:
                inputs = parameter.shape[0] if "Conv1D" in type(owner(model, key)).__name__ else parameter.shape[-1]
                size = 1.6 if key.removesuffix(".weight").endswith(WRITING) else 0.9
                parameter.copy_(torch.randn_like(parameter) * (size / inputs ** 0.5))
    return model


def owner(model, key):
    return model.get_submodule(key.rpartition(".")[0])


def save(case, folder, tokenizer, wanted, tokenizer_folder):
    """Writes a case as a checkpoint with a tokenizer. Only `wanted` tokens are ever likely ones."""
    model = make(case)
    rows = torch.full((VOCABULARY, 1), 0.02)
    rows[wanted] = 1
    with torch.no_grad():
        for weight in {model.get_input_embeddings().weight, model.get_output_embeddings().weight}:  # once if tied
            weight.mul_(rows)
    shutil.rmtree(folder, ignore_errors=True)
    model.to(case.dtype).save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer_folder / file, folder / file)
    if case.rewrite:
        path = folder / "config.json"
        config = json.loads(path.read_text())
        case.rewrite(config)
        path.write_text(json.dumps(config, indent=2) + "\n")


def write_transposed(source, folder):
    """A checkpoint with the weights of its Conv1D layers as `[out, in]`, the way quantised layouts keep them."""
    folder.mkdir(exist_ok=True)
    shutil.copy(source / "config.json", folder)
    weights = load_file(source / "model.safetensors")
    save_file({name: value.T.contiguous() if ".h." in name and value.ndim == 2 else value
               for name, value in weights.items()}, folder / "model.safetensors")


def write_rows(path, ids, lengths, seed):
    """A JSONL file of random rows of these lengths."""
    generator = torch.Generator().manual_seed(seed)
    with open(path, "w", encoding="utf-8") as file:
        for length in lengths:
            row = [ids[i] for i in torch.randint(len(ids), (length,), generator=generator).tolist()]
            print(json.dumps({"input_ids": row}), file=file)
    return path
