import Formats
import Foundation
import Testing

private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()
private let tinyLlama = root.appendingPathComponent("Models/tiny-llama").path
private let data = root.appendingPathComponent("Models/home-control/held-out.jsonl").path

struct CommandLineTests {
  static let commands = [
    "quantize", "train", "plan", "search", "advise", "evaluate", "predict", "generate", "chat", "serve", "merge",
    "combine", "adapters", "export", "inspect", "verify", "report", "fetch", "bench",
  ]

  @Test func usageNamesEveryCommand() throws {
    let help = try Program.run(["--help"])
    #expect(help.code == 0 && help.error.isEmpty)
    for name in Self.commands { #expect(help.output.contains("  \(name) "), "\(name)") }
    let none = try Program.run([])
    #expect(none.code == 2 && none.error.contains("usage: edge-lora COMMAND"))
    let unknown = try Program.run(["trian"])
    #expect(unknown.code == 2 && unknown.error.contains("unknown command trian; did you mean edge-lora train?"))
    #expect(try Program.run(["--version"]).output.hasPrefix("edge-lora "))
  }

  @Test func helpOfACommandIsItsOwn() throws {
    let help = try Program.run(["help", "train"])
    let same = try Program.run(["train", "--help"])
    #expect(help.code == 0 && help.output == same.output)
    #expect(try Program.run(["help", "trian"]).code == 2)
  }

  @Test func eachBenchHasOptionsOfItsOwn() throws {
    let help = try Program.run(["help", "bench", "kernels"])
    #expect(help.code == 0 && help.output.hasPrefix("usage: edge-lora bench kernels [options]"))
    #expect(help.output.contains("f16,int8,int4,nf4)") && !help.output.contains("--rank"))
    let foreign = try Program.run(["bench", "kernels", "--rank", "4"])
    #expect(foreign.code == 2 && foreign.error.contains("unknown option --rank"))
    let none = try Program.run(["bench"])
    #expect(none.code == 2 && none.error.contains("bench: expected train, generate or kernels"))
    let least = ["--tokens", "1", "--attention", "16", "--repetitions", "1", "--threads", "1", "--json"]
    #expect(try Program.run(["bench", "kernels"] + least).code == 0)
  }

  /// There is nothing to print.
  @Test func anEncoderWithoutLabelsIsNotEvaluated() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("encoder-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try """
    {"architectures": ["DistilBertModel"], "model_type": "distilbert", "dim": 32, "hidden_dim": 64, "n_layers": 1,
     "n_heads": 4, "vocab_size": 1024, "max_position_embeddings": 64, "activation": "gelu"}
    """.write(toFile: "\(folder)/config.json", atomically: true, encoding: .utf8)
    #expect(try Program.run(["quantize", "--random", "config.json", "-o", "model"], in: folder).code == 0)
    for name in ["tokenizer.json", "tokenizer_config.json"] {
      try? FileManager.default.removeItem(atPath: "\(folder)/model/\(name)")
      try FileManager.default.copyItem(atPath: "\(tinyLlama)/\(name)", toPath: "\(folder)/model/\(name)")
    }
    let words = ["evaluate", "--model", "model", "--data", data]
    let result = try Program.run(words, in: folder)
    #expect(result.code == 65 && result.error.contains("the model says no labels"), "\(result.error)")
    #expect(try Program.run(words + ["--dump-logits", "states.safetensors"], in: folder).code == 0)
  }

  /// What has labels has a loss too.
  @Test func aMergedModelWithLabelsIsChecked() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("labels-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let intents = root.appendingPathComponent("Models/home-control/intents/held-out.jsonl").path
    let train = ["train", "--model", tinyLlama, "--data", intents, "--max-steps", "1", "--output", "adapter"]
    #expect(try Program.run(train, in: folder).code == 0)
    let merge = ["merge", "--model", tinyLlama, "--adapter", "adapter", "-o", "merged", "--check", intents]
    let result = try Program.run(merge, in: folder)
    #expect(result.code == 0 && result.output.contains("loss before "), "\(result.error)")
    let evaluate = ["evaluate", "--model", "merged", "--data", intents]
    let refused = try Program.run(evaluate + ["--exact-match"], in: folder)
    #expect(refused.code == 2 && refused.error.contains("the model says labels"), "\(refused.error)")
    let figures = try Program.run(evaluate, in: folder)
    #expect(figures.code == 0 && figures.output.hasPrefix("loss "))
    #expect(figures.output.split(separator: "\n").allSatisfy { $0.count < 80 }, "\(figures.output)")
    // Nothing stands before a text of this model.
    let predict = ["predict", "--model", "merged"]
    let empty = try Program.run(predict + ["--text", ""], in: folder)
    #expect(empty.code == 2 && empty.error.contains("no token"), "\(empty.error)")
    try #"{"text": "a"}"#.appending("\n{\"text\": \"\"}\n").write(
      toFile: "\(folder)/texts.jsonl", atomically: true, encoding: .utf8)
    let rows = try Program.run(predict + ["--data", "texts.jsonl"], in: folder)
    #expect(rows.code == 65 && rows.error.contains("texts.jsonl:2: no token"), "\(rows.error)")
    let rest = try Program.run(predict + ["--data", "texts.jsonl", "--skip-bad-lines"], in: folder)
    #expect(rest.code == 0 && rest.output.split(separator: "\n").count == 1 && rest.error.contains("1 bad lines"))
  }

  @Test(arguments: commands) func helpListsTheOptions(command: String) throws {
    let help = try Program.run([command, "--help"])
    #expect(help.code == 0 && help.output.hasPrefix("usage: edge-lora \(command)") && help.output.contains("--help"))
  }

  @Test(arguments: [
    (["train", "--rnk", "4"], "unknown option --rnk; did you mean --rank?"),
    (["train", "--learningrate=1"], "did you mean --learning-rate?"),
    (["train", "--xyzzyplugh"], "unknown option --xyzzyplugh\n"),
    (["train", "--rank"], "--rank needs a value (N)"), (["train", "--rank", "--alpha"], "--rank needs a value (N)"),
    (["train", "word"], "unexpected word word"), (["quantize", "a", "b"], "unexpected word b"),
    (["train", "--bf16", "true"], "unknown option --bf16; weights are multiplied in 8 bits"),
    (["train", "--do_train", "--rank", "0"], "unknown option --do_train; it is always so"),
    (["train", "--use_rslora", "True", "--lora_target_modules", "q_proj", "v_proj", "--lora_rank", "0"], "--rank 0"),
    (["train", "--use_rslora", "maybe"], "unexpected word maybe"),
    (["train", "--force=maybe"], "--force=maybe: expected true or false"),
    (["train", "--rank", "0"], "--rank 0: expected a number from 1 to 1024"),
    (["train", "--rank=99999"], "--rank 99999: expected a number from 1 to 1024"),
    (["train", "--rank", "x"], "--rank x: expected a number"), (["train", "--alpha", "nan"], "--alpha nan"),
    (["train", "--micro-batch-size", "1025"], "from 1 to 1024"), (["train", "--max-length", "131073"], "--max-length"),
    (["train", "--seed", "-1"], "--seed -1"), (["train", "--threads", "0"], "--threads 0"),
    (["train", "--max-mem", "lots"], "--max-mem lots: expected a size"),
    (["train", "--layer-inputs", "f8"], "--layer-inputs f8: expected f32, spilled, bf16, int8"),
    (["generate", "--prompt", "a", "--top-p", "2"], "--top-p 2: expected a number from 0.0 to 1.0"),
    (["generate", "--prompt", "a"], "no model here; name one with --model"),
    (["generate"], "standard input: there is no prompt"),
    (["evaluate", "--model", "x", "--precision", "f64"], "--precision f64: expected int8 or f32"),
  ])
  func aWrongWordIsAnsweredWithWhatIsRight(arguments: [String], expected: String) throws {
    let result = try Program.run(arguments)
    #expect(result.code == 2, "\(arguments): \(result.error)")
    #expect((result.error + "\n").contains(expected), "\(arguments): \(result.error)")
    #expect(result.output.isEmpty)
  }

  /// What the last of two options says, and what stands behind `=`.
  @Test func valuesAreTakenInEitherFormAndTheLastOneCounts() throws {
    let common = ["plan", "--model", tinyLlama, "--data", data, "--json", "--threads", "1", "--max-length=32"]
    func parameters(_ more: [String]) throws -> String {
      let result = try Program.run(common + more)
      #expect(result.code == 0, "\(result.error)")
      let line = result.output.split(separator: "\n").first { $0.contains("trainable_parameters") }
      return String(try #require(line))
    }
    let two = try parameters(["--rank", "2"])
    #expect(try parameters(["--rank=2"]) == two)
    #expect(try parameters(["--lora-r", "2"]) == two)
    #expect(try parameters(["--rank", "9", "--rank", "2"]) == two)
    #expect(try parameters(["--rank", "4"]) != two)
  }

  /// Several files follow an option that takes a list, up to the next option.
  @Test func listsTakeAllThatFollows() throws {
    let once = ["plan", "--model", tinyLlama, "--json", "--threads", "1", "--max-length", "32"]
    func steps(_ files: [String]) throws -> Int {
      let result = try Program.run(once + ["--data"] + files + ["--epochs", "1"])
      #expect(result.code == 0, "\(result.error)")
      let line = try #require(result.output.split(separator: "\n").first { $0.contains("\"steps\"") })
      return try #require(Int(line.filter(\.isNumber)))
    }
    let (one, two) = (try steps([data]), try steps([data, data]))
    #expect(two > one + one / 2)
  }

  /// A switch that the settings file turns on is turned off by a flag.
  @Test func switchesAreTurnedOffAgainstTheSettingsFile() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("settings-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    func settings(_ text: String) throws {
      try text.write(to: folder.appendingPathComponent("edge-lora.json"), atomically: true, encoding: .utf8)
    }
    let arguments = ["plan", "--model", tinyLlama, "--data", data, "--threads", "1", "--max-length", "32"]
    func isJSON(_ more: [String]) throws -> Bool {
      let result = try Program.run(arguments + more, in: folder.path)
      #expect(result.code == 0, "\(result.error)")
      return result.output.hasPrefix("{")
    }
    try settings(#"{"json": true}"#)
    #expect(try isJSON([]))
    #expect(try !isJSON(["--json=false"]))
    #expect(try isJSON(["--json=false", "--json"]))
    for (text, expected) in [
      (#"{"rnk": 4}"#, "unknown option rnk; did you mean --rank?"), (#"{"rank": [4]}"#, "rank does not take"),
      (#"{"json": 1}"#, "json does not take 1; expected true or false"), ("[]", "expected an object of options"),
      (#"{"rank": 0}"#, "--rank 0: expected a number"),
    ] {
      try settings(text)
      let result = try Program.run(arguments, in: folder.path)
      #expect(result.code == 2 && result.error.contains(expected), "\(text): \(result.error)")
    }
  }

  @Test func failuresHaveTheExitCodesThatTheUsageNames() throws {
    func code(_ arguments: [String]) throws -> Int32 { try Program.run(arguments).code }
    #expect(try code(["inspect", "/nonexistent"]) == 66)
    #expect(try code(["generate", "--model", root.path, "--prompt", "a"]) != 0)
    #expect(try code(["train", "--model", tinyLlama, "--data", data, "--max-mem", "1M"]) == 77)
    #expect(
      try code(["evaluate", "--model", tinyLlama, "--data", root.appendingPathComponent("LICENSE").path]) == 65)
  }

  @Test func anOutputInUseIsRefusedWithItsHolder() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("held-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let lock = try FolderLock(folder: folder, purpose: "train")
    let train = [
      "train", "--model", tinyLlama, "--data", data, "--output", folder, "--max-steps", "1", "--max-length", "32",
      "--threads", "1",
    ]
    let refused = try Program.run(train)
    #expect(refused.code == 73 && refused.error.contains("in use by process"), "\(refused.error)")
    withExtendedLifetime(lock) {}
  }

  /// The last answers of a run are those that its adapter gives. Products of few rows are rounded otherwise in a run, which may
  /// show in the end where two tokens are equally likely.
  @Test(arguments: ["lora", "prefix_tuning", "prompt_tuning", "p_tuning"])
  func sampleAnswersAreThoseOfGenerate(method: String) throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("samples-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let prompt = "turn the lights off in the kitchen"
    try (prompt + "\n").write(toFile: "\(folder)/prompts.txt", atomically: true, encoding: .utf8)
    let trained = try Program.run([
      "train", "--model", tinyLlama, "--data", data, "--output", "\(folder)/adapter", "--max-steps", "3",
      "--max-length", "64", "--learning-rate", "1e-2", "--threads", "2", "--sample-prompts", "\(folder)/prompts.txt",
      "--sample-max-new-tokens", "12", "--method", method,
    ])
    #expect(trained.code == 0, "\(trained.error)")
    let lines = try String(contentsOfFile: "\(folder)/adapter/metrics.jsonl", encoding: .utf8).split(separator: "\n")
    let last = try JSONValue.parse(String(try #require(lines.last { $0.contains("samples") })), file: "metrics")
    let answer = try #require(last["samples"]?.arrayValue?.first?["answer"]?.stringValue)
    let generated = try Program.run([
      "generate", "--model", tinyLlama, "--adapter", "\(folder)/adapter", "--prompt", prompt, "--max-new-tokens", "12",
      "--threads", "2",
    ])
    let common = zip(generated.output, answer).prefix { $0 == $1 }.count
    #expect(!answer.isEmpty && common >= answer.count / 2, "\(answer) for \(generated.output)")
    #expect(trained.error.contains("prompt: \(prompt)"))
  }

  @Test func whatStandardOutputDoesNotTakeIsAnError() throws {
    let result = try Program.run(["inspect", tinyLlama], to: "/dev/full")
    #expect(result.code == 74 && result.error.contains("standard output: writing stopped"), "\(result.error)")
    #expect(try Program.run(["inspect", tinyLlama], to: "/dev/null").code == 0)
  }

  @Test func helpHasRoomInATerminal() throws {
    for words in Self.commands.map({ [$0] }) + [["bench", "train"], []] {
      let lines = try Program.run(words + ["--help"]).output.split(separator: "\n")
      for line in lines { #expect(line.count <= 80, "\(words): \(line)") }
    }
  }

  @Test func aPlanHasRoomInATerminal() throws {
    let result = try Program.run(["plan", "--model", tinyLlama, "--data", data])
    #expect(result.code == 0)
    for line in result.output.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
  }

  @Test(arguments: [
    (["export", "--adapter", "a", "-o", "a.gguf", "--format", "f16"], 2, "--format goes with --model"),
    (["export", "--adapter", "a", "-o", "a.gguf"], 66, "a: no such file"),
    (["export", "--adapter", "/", "--base", "b", "-o", "a.gguf"], 66, "b: no such file"),
    (["combine", "--adapter", "a", "b", "-o", "c", "--svd-rank", "4"], 2, "--svd-rank has no effect"),
    (["combine", "--adapter", "a", "b", "-o", "c", "--combination-type", "ties", "--seed", "4"], 2, "--seed has no"),
    (["verify", "/", "--model", "b"], 66, "b: no such file"),
    (["serve", "--api-key-file", "keys"], 66, "keys: cannot open"),
  ])
  func whatHasNoEffectOrIsMissingIsNamed(words: [String], code: Int32, message: String) throws {
    let result = try Program.run(words)
    #expect(result.code == code && result.error.contains(message), "\(result.error)")
  }

  /// As it can be trained on.
  @Test func aModelWithoutATokenizerIsEvaluatedOnIds() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("ids-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: "\(folder)/model", withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    for file in ["config.json", "model.safetensors"] {
      try FileManager.default.copyItem(atPath: "\(tinyLlama)/\(file)", toPath: "\(folder)/model/\(file)")
    }
    try #"{"input_ids": [5, 6, 7, 8]}"#.write(toFile: "\(folder)/ids.jsonl", atomically: true, encoding: .utf8)
    try #"{"text": "a"}"#.write(toFile: "\(folder)/text.jsonl", atomically: true, encoding: .utf8)
    func evaluate(_ model: String, _ file: String) throws -> Program.Result {
      try Program.run(["evaluate", "--model", model, "--data", file, "--json"], in: folder)
    }
    let without = try evaluate("model", "ids.jsonl")
    let with = try evaluate(tinyLlama, "ids.jsonl")
    #expect(without.code == 0 && without.output == with.output)
    let text = try evaluate("model", "text.jsonl")
    #expect(text.code != 0 && text.error.contains("tokenizer.json"), "\(text.error)")
  }
}
