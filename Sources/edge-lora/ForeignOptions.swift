/// Options of other trainers that have no counterpart here, and what there is in their place.
enum ForeignOptions {
  private static let groups: [(names: [String], advice: String)] = [
    (
      ["fp16", "bf16", "tf32", "torch-dtype", "dtype", "half-precision-backend"],
      "weights are multiplied in 8 bits and everything else computed in 32; leave it out"
    ),
    (
      ["load-in-4bit", "load-in-8bit", "quantization", "quantization-bit", "bnb-4bit-quant-type", "use-4bit"],
      "edge-lora quantize chooses the bits of the weights: --format nf4, int4 or int8"
    ),
    (
      ["gradient-checkpointing", "use-gradient-checkpointing", "activation-offloading"],
      "the plan decides what is kept and what computed again; --max-mem says how much memory it has"
    ),
    (
      ["per-device-eval-batch-size", "eval-accumulation-steps", "eval-batch-size", "auto-find-batch-size"],
      "the plan decides how many rows are computed together; leave it out"
    ),
    (
      ["packing", "sample-packing", "group-by-length", "pad-to-max-length"],
      "short samples always share a row, without attending to each other; leave it out"
    ),
    (
      ["dataset-text-field", "completion-only-loss", "assistant-only-loss", "train-on-inputs"],
      "keys of the data say what is learnt, and loss is on answers alone; --train-on-prompt puts it on everything"
    ),
    (
      ["save-strategy"],
      "--save-steps N and --save-minutes N say when checkpoints are written; there is always one at the end"
    ),
    (["do-train", "do-eval", "use-peft", "save-safetensors", "task-type"], "it is always so; leave it out"),
    (
      ["no-cuda", "use-cpu", "device-map", "device", "torch-compile"], "everything runs on the processor; leave it out"
    ),
    (
      ["deepspeed", "fsdp", "dataloader-num-workers", "num-workers", "ddp-find-unused-parameters", "local-rank"],
      "a run is one process, with --threads N"
    ),
    (
      ["push-to-hub", "hub-model-id", "hub-token"],
      "the adapter's folder is what the hub takes: hf upload NAME FOLDER"
    ),
    (["logging-dir", "run-name"], "logs and reports are in the folder that --output names"),
    (["config"], "--settings FILE takes options from JSON"),
  ]

  /// What to do in place of an option, if it is one of these.
  static func advice(_ name: String) -> String? {
    groups.first { $0.names.contains(name) }.map { "; " + $0.advice }
  }
}
