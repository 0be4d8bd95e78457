import Foundation
import Reporting
import Testing

@Suite struct ModelCardTests {
  private func card(
    in folder: ScratchFolder, _ subject: ModelCard.Subject = .adapter, base: String = "owner/Some-Model-1B"
  ) throws -> ModelCard {
    try folder.write(
      #"{"base_model_name_or_path": "\#(base)", "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 16.0,"#
        + #" "target_modules": ["q_proj", "v_proj"], "use_dora": false}"#, to: "adapter_config.json")
    try folder.write(
      #"{"step": 1, "loss": 2.5}"# + "\n" + #"{"step": 2, "loss": 1.5}"# + "\n"
        + #"{"step": 2, "eval_loss": 1.75, "eval_accuracy": 0.5}"# + "\n", to: "metrics.jsonl")
    try folder.write(
      #"{"options": {"data": ["/home/someone/my data.jsonl", "/c/datasets--owner--set/x.jsonl"], "epochs": ["3"]}}"#,
      to: "run.json")
    return try ModelCard(
      subject, adapter: folder.path, baseDirectory: nil, runFolder: folder.path, program: "1.0")
  }

  @Test func theFrontMatterIsWhatTheHubReads() throws {
    let folder = try ScratchFolder()
    let text = try card(in: folder).text
    #expect(
      text.hasPrefix(
        """
        ---
        base_model: owner/Some-Model-1B
        base_model_relation: adapter
        datasets:
        - owner/set
        library_name: peft
        license: unknown
        pipeline_tag: text-generation
        tags:
        - edge-lora
        - lora
        - base_model:adapter:owner/Some-Model-1B
        ---

        # LoRA for Some-Model-1B
        """))
    for part in [
      "| r | 8 |", "| lora_alpha | 16 |", "first step | 2.5000 |", "best, step 2 | 1.7500 |", "| accuracy | 0.5000 |",
    ] {
      #expect(text.contains(part), "\(part)")
    }
    #expect(text.contains("edge-lora train \\\n  --data 'my data.jsonl' x.jsonl \\\n  --epochs 3"))
    #expect(!text.contains("/home"))
  }

  @Test func aFolderIsNoNameOnTheHub() throws {
    let folder = try ScratchFolder()
    let base = try ScratchFolder()
    try base.write("---\nlanguage: en\nlicense: apache-2.0\n---\n", to: "README.md")
    let text = try card(in: folder, base: base.path).text
    #expect(!text.contains("base_model:"))
    #expect(text.contains("license: apache-2.0"))
    try base.write(#"{"_name_or_path": "owner/name"}"#, to: "config.json")
    #expect(try card(in: folder, base: base.path).text.contains("base_model: owner/name\n"))
    for name in ["a/b/c", "a", "/a", "a/", "../b", "a/.b", "a b/c", "a/b\nlicense: x"] {
      #expect(!BaseFacts.isHubName(name), "\(name)")
    }
    #expect(BaseFacts(name: "/x/models--owner--name/snapshots/1", directory: nil).hubName == "owner/name")
  }

  @Test func anAdapterOfAdapterHubIsLoadedWithItsHead() throws {
    let folder = try ScratchFolder()
    try folder.write(#"{"config": {"mh_adapter": false}, "model_name": "owner/name"}"#, to: "adapter_config.json")
    func text() throws -> String {
      try ModelCard(.adapter, adapter: folder.path, baseDirectory: nil, runFolder: nil, program: "1.0").text
    }
    #expect(try text().contains("AutoModelForCausalLM") && text().contains("pipeline_tag: text-generation"))
    try folder.write(
      #"{"config": null, "model_class": "BertForTokenClassification", "label2id": {"O": 0, "B-x": 1}}"#,
      to: "head_config.json")
    let found = try text()
    for part in [
      "AutoModelForTokenClassification.from_pretrained(", ", num_labels=2)", "adapters.init(model)",
      "use_safetensors=True", "pipeline_tag: token-classification",
    ] {
      #expect(found.contains(part), "\(part)")
    }
  }

  @Test func mergedModelsAreTransformers() throws {
    let folder = try ScratchFolder()
    let text = try card(in: folder, .merged(format: "int8")).text
    #expect(text.contains("library_name: transformers\n") && text.contains("base_model_relation: finetune\n"))
    #expect(text.contains("stored as int8"))
  }

  @Test func aCardOfTheUserStays() throws {
    let folder = try ScratchFolder()
    let card = try card(in: folder)
    #expect(!ModelCard.isForeign(in: folder.path))
    try card.write(to: folder.path)
    #expect(!ModelCard.isForeign(in: folder.path))
    let (old, new) = (try ScratchFolder(), try ScratchFolder())
    try old.write("mine", to: "README.md")
    #expect(ModelCard.isForeign(in: old.path))
    try card.write(to: new.path, unlessForeignIn: old.path)
    #expect(try String(contentsOfFile: new.path + "/README.md", encoding: .utf8) == "mine")
  }

  /// transformers makes a head of two labels otherwise, into which no other one fits.
  @Test func aHeadOfLabelsIsMadeWithTheirNumber() throws {
    let folder = try ScratchFolder()
    let without = try card(in: folder).text
    #expect(!without.contains("num_labels"))
    try folder.write(#"{"id2label": {"0": "a", "1": "b", "2": "c"}}"#, to: "config.json")
    #expect(try card(in: folder).text.contains(#"from_pretrained("owner/Some-Model-1B", num_labels=3)"#))
  }
}
