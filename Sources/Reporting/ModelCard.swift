import Formats
import FoundationEssentials

/// `README.md` of an adapter or a merged model, with the front matter that the Hugging Face hub reads.
///
/// It says only what is known, and nothing that differs between two runs with the same bits: no time, no speed, no path.
/// Source: the hub's documentation of model cards.
public struct ModelCard {
  /// What the card is about.
  public enum Subject: Sendable {
    case adapter
    /// A base with an adapter added, stored in a format such as `int8`.
    case merged(format: String)
  }

  public static let fileName = "README.md"
  /// By which a card is known that may be written anew.
  private static let mark = "<!-- This card was written by edge-lora; without this line it stays as it is. -->"

  private let subject: Subject
  private let adapter: AdapterFacts
  private let taskType: String?
  /// What AdapterHub's files say of a head.
  private let head: AdapterHubHead?
  /// Without this many, transformers makes a head of two labels.
  private let labelCount: Int?
  private let base: BaseFacts
  private let run: RunRecord?
  private let program: String

  /// - Parameters:
  ///   - adapter: folder with `adapter_config.json`
  ///   - baseDirectory: where the base model lies
  ///   - runFolder: of the run that made the adapter, which may be that of the adapter
  ///   - program: version of this program
  public init(
    _ subject: Subject, adapter: String, baseDirectory: String?, runFolder: String?, program: String
  ) throws {
    self.subject = subject
    let json = try JSONValue.parse(contentsOf: "\(adapter)/adapter_config.json")
    self.adapter = AdapterFacts(json)
    head = self.adapter.isAdapterHub ? try? AdapterHubHead.load(directory: adapter) : nil
    let beside = (try? JSONValue.parse(contentsOf: "\(adapter)/config.json"))?["id2label"]?.objectValue
    labelCount = head?.labels.count ?? beside?.entries.count
    taskType = head?.taskType ?? json["task_type"]?.stringValue
    base = BaseFacts(name: json["base_model_name_or_path"]?.stringValue, directory: baseDirectory)
    run = runFolder.flatMap { try? RunRecord(folder: $0, keepsSteps: false) }
    self.program = program
  }

  /// Whether a folder has a card that someone else has written or changed.
  public static func isForeign(in folder: String) -> Bool {
    let path = "\(folder)/\(fileName)"
    guard FileManager.default.fileExists(atPath: path) else { return false }
    guard let file = try? MappedFile(path: path) else { return true }
    return withExtendedLifetime(file) { !String(decoding: file.bytes, as: UTF8.self).contains(mark) }
  }

  /// Writes the card into `directory`.
  public func write(to directory: String) throws {
    try OutputFile.write(text, to: "\(directory)/\(Self.fileName)")
  }

  /// Writes the card into a folder that takes the place of `old`; a card of the user's in that one goes along instead.
  public func write(to directory: String, unlessForeignIn old: String) throws {
    guard Self.isForeign(in: old) else {
      try write(to: directory)
      return
    }
    let source = try MappedFile(path: "\(old)/\(Self.fileName)")
    let output = try OutputFile(path: "\(directory)/\(Self.fileName)")
    try withExtendedLifetime(source) { try output.append(source.bytes) }
    try output.finish()
  }

  /// The whole file.
  public var text: String {
    let body = [
      "# \(title)", introduction, section("Use", use), section("Training", training), section("Losses", losses),
      section("Command", command), Self.mark,
    ]
    return frontMatter + "\n" + body.compactMap { $0 }.joined(separator: "\n\n") + "\n"
  }

  private func section(_ title: String, _ content: String?) -> String? {
    content.map { "## \(title)\n\n\($0)" }
  }

  // MARK: Front matter

  private var isMerged: Bool { if case .merged = subject { true } else { false } }

  private var library: String {
    isMerged ? "transformers" : adapter.hasFilesOfItsOwn ? "edge-lora" : adapter.isAdapterHub ? "adapters" : "peft"
  }

  private var pipeline: String {
    switch taskType {
    case "SEQ_CLS": "text-classification"
    case "TOKEN_CLS": "token-classification"
    default: "text-generation"
    }
  }

  private var frontMatter: String {
    var lines = ["---"]
    if let name = base.hubName {
      lines.append("base_model: \(name)")
      lines.append("base_model_relation: \(isMerged ? "finetune" : "adapter")")
    }
    if !hubDataSets.isEmpty { lines += ["datasets:"] + hubDataSets.map { "- \($0)" } }
    lines.append("library_name: \(library)")
    lines.append("license: \(base.licence ?? "unknown")")
    lines.append("pipeline_tag: \(pipeline)")
    let method = adapter.type.map { $0.lowercased().split(separator: "_").joined(separator: "-") }
    let tags =
      ["edge-lora", method].compactMap { $0 }
      + (base.hubName.map { ["base_model:\(isMerged ? "finetune" : "adapter"):\($0)"] } ?? [])
    lines += ["tags:"] + tags.map { "- \($0)" } + ["---"]
    return lines.joined(separator: "\n") + "\n"
  }

  /// Data sets that come from the hub's cache, where folders are called `datasets--OWNER--NAME`.
  private var hubDataSets: [String] {
    let files = (run?.record?["options"]?["data"]?.arrayValue ?? []).compactMap(\.stringValue)
    let names = files.compactMap { file -> String? in
      guard let folder = file.split(separator: "/").first(where: { $0.hasPrefix("datasets--") }) else { return nil }
      let name = folder.dropFirst("datasets--".count).split(separator: "--", maxSplits: 1).joined(separator: "/")
      return BaseFacts.isHubName(name) ? name : nil
    }
    return names.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
  }

  // MARK: Body

  private var title: String {
    let name = base.shownName
    return isMerged ? "\(name), fine-tuned" : "\(adapter.name ?? "Adapter") for \(name)"
  }

  private var introduction: String {
    let method = adapter.name ?? "an adapter"
    let link = base.hubName.map { "[\($0)](https://huggingface.co/\($0))" } ?? "`\(base.shownName)`"
    return switch subject {
    case .adapter: "\(link) with \(method), trained with edge-lora \(program) on frozen, quantised weights."
    case .merged(let format):
      "\(link) with \(method) merged into its weights, stored as \(format) by edge-lora \(program)."
    }
  }

  private var use: String {
    let auto =
      switch pipeline {
      case "text-classification": "AutoModelForSequenceClassification"
      case "token-classification": "AutoModelForTokenClassification"
      default: "AutoModelForCausalLM"
      }
    let name = base.hubName ?? "path/to/\(base.shownName)"
    if isMerged {
      return
        "```python\nfrom transformers import \(auto)\n\nmodel = \(auto).from_pretrained(\"path/to/this/folder\")\n```"
    }
    if adapter.hasFilesOfItsOwn {
      return "```\nedge-lora generate --model \(name) --adapter path/to/this/folder --prompt ...\n```"
    }
    let labels = labelCount.map { ", num_labels=\($0)" } ?? ""
    if adapter.isAdapterHub {
      return "```python\nimport adapters\nfrom transformers import \(auto)\n\n"
        + "model = \(auto).from_pretrained(\"\(name)\"\(labels))\nadapters.init(model)\n"
        + "model.set_active_adapters(model.load_adapter(\"path/to/this/folder\", use_safetensors=True))\n```"
    }
    return "```python\nfrom peft import PeftModel\nfrom transformers import \(auto)\n\n"
      + "base = \(auto).from_pretrained(\"\(name)\"\(labels))\n"
      + "model = PeftModel.from_pretrained(base, \"path/to/this/folder\")\n```"
  }

  private var training: String? {
    var rows = [("method", adapter.name ?? "-")]
    rows += adapter.parameters.map { ($0.name, $0.value) }
    if let run {
      let data = RunFacts(run: run).data
      if !data.isEmpty { rows.append(("data", data.joined(separator: ", "))) }
      rows.append(("steps", String(run.stepCount)))
      for name in [
        "epochs", "learning-rate", "lr-scheduler", "micro-batch-size", "gradient-accumulation-steps", "max-length",
        "seed",
      ] {
        if let value = run.option(name) { rows.append((name, value)) }
      }
    }
    let lines = rows.map { "| \(Self.cell($0.0)) | \(Self.cell($0.1)) |" }
    return (["| | |", "| --- | --- |"] + lines).joined(separator: "\n")
  }

  private var losses: String? {
    guard let run, let first = run.steps.first?["loss"]?.doubleValue, let last = run.lastLoss else { return nil }
    var lines = [
      "| | loss |", "| --- | --- |", "| training, first step | \(HTMLText.decimal(first, 4)) |",
      "| training, mean of the last steps | \(HTMLText.decimal(last, 4)) |",
    ]
    func row(_ name: String, _ line: JSONObject) {
      guard let loss = line["eval_loss"]?.doubleValue else { return }
      lines.append("| \(name), step \(line["step"]?.intValue ?? 0) | \(HTMLText.decimal(loss, 4)) |")
    }
    if let best = run.bestEvaluation { row("evaluation, best", best) }
    if let end = run.evaluations.last { row("evaluation, last", end) }
    let figures = (run.evaluations.last?.entries ?? []).filter { key, value in
      key.hasPrefix("eval_") && !["eval_loss", "eval_seconds", "eval_runtime"].contains(key) && value.doubleValue != nil
    }
    guard !figures.isEmpty else { return lines.joined(separator: "\n") }
    lines += ["", "At the last evaluation:", "", "| | |", "| --- | --- |"]
    lines += figures.map {
      "| \(Self.cell(ReportCharts.words($0.key))) | \(HTMLText.decimal($0.value.doubleValue ?? 0, 4)) |"
    }
    return lines.joined(separator: "\n")
  }

  /// The command that trained, with the names of files but not where they lie.
  private var command: String? {
    guard let run, !run.options.isEmpty else { return nil }
    var words = ["edge-lora train"]
    for (name, value) in run.record?["options"]?.objectValue?.entries ?? [] {
      let values = (value.arrayValue ?? []).compactMap(\.stringValue)
      let shown = values.map { text in text.hasPrefix("/") ? RunFacts.lastPart(text) : text }
      words.append((["--\(name)"] + shown.map(Self.quoted)).joined(separator: " "))
    }
    return "```sh\n" + words.joined(separator: " \\\n  ") + "\n```"
  }

  /// A word as a shell takes it.
  private static func quoted(_ word: String) -> String {
    let plain = word.utf8.allSatisfy { byte in
      (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
        || Array("-_./,:=@%+".utf8).contains(byte)
    }
    guard !plain || word.isEmpty else { return word }
    let line = word.map { $0.isNewline || $0 == "`" ? " " : $0 }
    return "'" + String(line).split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
  }

  /// Text for the cell of a table.
  private static func cell(_ text: String) -> String {
    text.map { $0 == "|" ? "\\|" : $0.isNewline ? " " : String($0) }.joined()
  }
}
