import Architectures
import Deployment
import Formats
import Foundation
import Kernels
import Memory
import Quantization
import Testing
import Transformer
import Tuning
import WeightStore

/// A byte-level tokenizer of few tokens, for models that have none.
private let tokenizer = """
  {"version": "1.0", "added_tokens": [{"id": 0, "content": "<s>", "special": true}],
   "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
   "model": {"type": "BPE", "vocab": {"<s>": 0, "a": 1, "b": 2, "ab": 3}, "merges": [["a", "b"]]}}
  """

/// A golden model with a tokenizer beside it.
@discardableResult private func withModel<Result>(
  _ name: String, _ body: (_ model: String, _ folder: String) throws -> Result
) throws
  -> Result
{
  try withTemporaryFolder { folder in
    let model = "\(folder)/model"
    try FileManager.default.createDirectory(atPath: model, withIntermediateDirectories: true)
    for file in ["config.json", "model.safetensors"] {
      try FileManager.default.copyItem(atPath: "\(golden(name))/\(file)", toPath: "\(model)/\(file)")
    }
    try tokenizer.write(toFile: "\(model)/tokenizer.json", atomically: true, encoding: .utf8)
    return try body(model, folder)
  }
}

private func export(_ model: String, adapter: String? = nil, to path: String, format: ExportFormat = .f16) throws {
  _ = try ModelExporter(pool: ThreadPool(threadCount: 2)).export(
    modelDirectory: model, adapter: adapter, to: path, format: format, force: false
  ) { _, _ in }
}

private func values(_ tensor: SourceTensor) -> [Float] {
  var result = [Float](repeating: 0, count: tensor.rows * tensor.columns)
  result.withUnsafeMutableBufferPointer { tensor.fill(0..<tensor.rows, $0) }
  return result
}

/// Largest difference of two lists.
private func distance(_ a: [Float], _ b: [Float]) -> Float { zip(a, b).map { abs($0 - $1) }.max() ?? 0 }

@Suite struct ModelExporterTests {
  /// Of each family that llama.cpp computes as it is described.
  @Test(arguments: [
    "qwen3", "phi3", "gpt2", "neox", "neox-sequential", "llama-longrope", "llama-dynamic", "mistral-window",
    "qwen2-window",
  ])
  func aModelComesBackFromGGUF(name: String) throws {
    try withModel(name) { model, folder in
      let source = try ModelSource.open(model)
      try export(model, to: "\(folder)/out.gguf")
      let found = try ModelSource.open("\(folder)/out.gguf")
      #expect(found.description.layers.count == source.description.layers.count)
      for (mine, other) in zip(found.description.rotaries, source.description.rotaries) {
        // The file has what frequencies are divided by in 32 bits.
        for (a, b) in zip(mine.frequencies, other.frequencies) { #expect(abs(a - b) <= 1e-6 * b) }
        #expect(abs(mine.factor - other.factor) <= 1e-6)
      }
      for tensor in source.description.tensors {
        let wanted = try values(source.tensor(tensor))
        // Half precision keeps eleven bits.
        let limit = (wanted.map(abs).max() ?? 0) / 1024
        #expect(try distance(values(found.tensor(tensor)), wanted) <= limit, "\(tensor.name)")
      }
    }
  }

  /// A Mistral has texts longer than its window.
  @Test func aWindowIsNotTheLongestText() throws {
    try withModel("mistral-window") { model, folder in
      let source = try ModelSource.open(model).description
      try export(model, to: "\(folder)/out.gguf")
      let found = try ModelSource.open("\(folder)/out.gguf").description
      #expect(found.maximumPositions == source.maximumPositions)
      #expect(found.layers.map(\.attention.span) == source.layers.map(\.attention.span))
    }
  }

  @Test func anAdapterIsInTheWeights() throws {
    try withModel("qwen3") { model, folder in
      try export(model, to: "\(folder)/base.gguf")
      try export(model, adapter: "\(golden("qwen3"))/adapter", to: "\(folder)/sum.gguf")
      let (base, sum) = (try ModelSource.open("\(folder)/base.gguf"), try ModelSource.open("\(folder)/sum.gguf"))
      let linear = base.description.layers[0].attention.output.weight
      #expect(try distance(values(base.tensor(linear)), values(sum.tensor(linear))) > 1e-3)
    }
  }

  @Test func aFileIsNotReplacedUnasked() throws {
    try withModel("gpt2") { model, folder in
      try export(model, to: "\(folder)/out.gguf")
      #expect(throws: FileError.self) { try export(model, to: "\(folder)/out.gguf") }
    }
  }

  @Test func whatTheUserSaysToOllamaStays() throws {
    try withTemporaryFolder { folder in
      func write(_ name: String, force: Bool) throws -> String? {
        try Modelfile.write(beside: "\(folder)/\(name)", stops: ["</s>"], force: force)
      }
      #expect(try write("a.gguf", force: false) != nil)
      #expect(try write("b.gguf", force: false) == nil)
      #expect(try write("b.gguf", force: true) != nil)
      let own = "FROM ./b.gguf\nSYSTEM be brief\n"
      try own.write(toFile: "\(folder)/Modelfile", atomically: true, encoding: .utf8)
      #expect(try write("b.gguf", force: true) == nil)
      #expect(try String(contentsOfFile: "\(folder)/Modelfile", encoding: .utf8) == own)
    }
  }

  /// What llama.cpp would compute otherwise, or not at all.
  @Test(arguments: [
    ("opt", "llama.cpp has no OPTForCausalLM"), ("smollm3", "no biases of these layers"),
    ("gpt2-options", "no attention scale"), ("llama-yarn", "no yarn with truncate off"),
    ("llama-biases", "no activation geluTanh"), ("gemma3", "no attention scale"),
  ])
  func whatLlamaCppLacksIsRefused(name: String, reason: String) throws {
    try withModel(name) { model, folder in
      do {
        try export(model, to: "\(folder)/out.gguf")
        Issue.record("\(name) was written")
      } catch let error as GGUFHeader.Unsuitable {
        #expect("\(error)".contains(reason))
      }
      #expect(!FileManager.default.fileExists(atPath: "\(folder)/out.gguf"))
    }
  }

  @Test func anAdapterBecomesALoRAWithItsFactor() throws {
    try withModel("qwen3") { model, folder in
      let count = try AdapterExporter.export(
        adapter: "\(golden("qwen3"))/adapter", base: model, to: "\(folder)/lora.gguf", force: false)
      let file = try GGUFFile(path: "\(folder)/lora.gguf")
      #expect(count > 0 && file.tensors.count == 2 * count)
      #expect(file.metadata["general.type"] == .string("adapter"))
      let configuration = try LowRankConfiguration.load(from: "\(golden("qwen3"))/adapter")
      #expect(file.metadata["adapter.lora.alpha"]?.doubleValue == configuration.alpha)
      let part = try #require(file.tensor("blk.0.attn_q.weight.lora_a"))
      #expect(part.rows == configuration.rank)
    }
  }

  /// Layers with ranks and scalings of their own: each has its factor in `B`, and ranks come back.
  @Test func patternsOfAnAdapterAreInItsFile() throws {
    try withModel("qwen3") { model, folder in
      var configuration = LowRankConfiguration(rank: 4, alpha: 8, targetModules: .names(["q_proj", "v_proj"]))
      configuration.rankPattern = [.init(pattern: "v_proj", value: 2)]
      configuration.alphaPattern = [.init(pattern: "0.self_attn.q_proj", value: 3)]
      configuration.useRSLoRA = true
      let adapter = "\(folder)/adapter"
      try OutputFolder.create(adapter)
      let loaded = try LanguageModel(store: try WeightStore.open(model))
      let (arena, method) = try Arena.filled {
        try configuration.reserve(for: loaded, in: TuningRoom(arena: $0, trainingTokens: 0))
      }
      try withExtendedLifetime(arena) {
        method.initialize(seed: 4)
        for entry in method.trainables.entries { entry.assign((0..<entry.count).map { Float($0 % 17) - 8 }) }
        try method.save(to: adapter, baseModel: model)
      }
      _ = try AdapterExporter.export(adapter: adapter, base: model, to: "\(folder)/lora.gguf", force: false)
      try AdapterImporter.withFolder("\(folder)/lora.gguf", for: loaded.description) { path in
        let (before, after) = (try LowRankFile(directory: adapter), try LowRankFile(directory: path))
        #expect(before.names == after.names && before.names.count >= 2)
        for name in before.names {
          let (a, b) = (try #require(try before.part(name)), try #require(try after.part(name)))
          #expect(a.rank == b.rank && a.aValues == b.aValues)
          for (x, y) in zip(a.bValues, b.bValues) {
            #expect(abs(Double(x) * a.weight - Double(y) * b.weight) < 1e-5)
          }
        }
      }
    }
  }

  /// Rows of queries and keys of Llama, of fused heads of GPT-NeoX, are in another order there.
  @Test(arguments: ["llama-longrope", "neox", "gpt2", "phi3"])
  func aLoRAFileIsTheAdapterThatItWasMadeOf(name: String) throws {
    try withModel(name) { model, folder in
      let adapter = "\(golden(name))/adapter"
      _ = try AdapterExporter.export(adapter: adapter, base: model, to: "\(folder)/lora.gguf", force: false)
      let wanted = try SafetensorsFile(path: "\(adapter)/adapter_model.safetensors")
      try AdapterImporter.withFolder("\(folder)/lora.gguf", for: try ModelDescription.load(directory: model)) { path in
        let found = try SafetensorsFile(path: "\(path)/adapter_model.safetensors")
        #expect(found.tensorNames.sorted() == wanted.tensorNames.sorted())
        for name in wanted.tensorNames {
          let (a, b) = (try #require(found.tensor(name)), try #require(wanted.tensor(name)))
          var lists = [[Float](repeating: 0, count: a.elementCount), [Float](repeating: 0, count: b.elementCount)]
          lists[0].withUnsafeMutableBufferPointer { a.copyFloats(range: 0..<$0.count, into: $0) }
          lists[1].withUnsafeMutableBufferPointer { b.copyFloats(range: 0..<$0.count, into: $0) }
          #expect(a.shape == b.shape && lists[0] == lists[1], "\(name)")
        }
      }
    }
  }

  @Test func whatIsInTheWayOfAGGUFLoRAIsToldAsItIs() throws {
    func refusal(_ adapter: String, base: String?, in folder: String) -> String {
      do {
        _ = try AdapterExporter.export(adapter: adapter, base: base, to: "\(folder)/lora.gguf", force: false)
        return "nothing"
      } catch { return "\(error)" }
    }
    try withTemporaryFolder { folder in
      let named = refusal("\(golden("gpt2"))/adapter", base: "\(folder)/base.gguf", in: folder)
      #expect(named.hasPrefix("--base \(folder)/base.gguf: is no folder of a model"), "\(named)")
      let adapter = "\(folder)/labels"
      try FileManager.default.createDirectory(atPath: adapter, withIntermediateDirectories: true)
      var lora = PEFTLoRA(rank: 1, alpha: 1, targetModules: .names(["q_proj"]))
      lora.common.taskType = "SEQ_CLS"
      try PEFTConfiguration.lora(lora).write(to: adapter)
      let labelled = refusal(adapter, base: nil, in: folder)
      #expect(labelled.contains("says labels, which a GGUF LoRA cannot"), "\(labelled)")
    }
  }
}
