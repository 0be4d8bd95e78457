import Architectures
import Formats
import Foundation
import Kernels
import Memory
import Randomness
import Transformer
import Tuning
import WeightStore

/// The folder of golden vectors.
let golden = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden").path

/// The trained tiny checkpoint.
let tinyLlama = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent().appendingPathComponent("Models/tiny-llama").path

/// The folders below `golden`: every family, and the options at which families differ.
let variants = [
  "llama", "separate-head", "qwen2-bias", "mistral-head-dim", "linear-rope", "llama3-rope", "hidden-96",
  "llama-biases", "llama-yarn", "llama-dynamic", "llama-longrope", "mistral-window", "qwen2-window", "qwen3",
  "qwen3-window", "gemma3", "gemma3-options", "smollm3", "phi3", "phi3-window", "gpt2", "gpt2-options", "opt",
  "opt-350m", "opt-bare", "neox", "neox-sequential",
]

/// Runs `body` with a folder that is gone afterwards.
func withTemporaryFolder<Result>(_ body: (String) throws -> Result) throws -> Result {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("transformer-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  return try body(folder.path)
}

/// Samples that lie in rows of one length, as the model takes them.
struct PackedRows {
  var tokens: [Int32] = []
  var labels: [Int32] = []
  var layout: SequenceLayout
  /// Where each sample begins, and its length.
  var places: [Range<Int>] = []

  /// - Parameter rows: the samples of each row: tokens, and for each whether it is to be learnt
  init(_ rows: [[(tokens: [Int32], labels: [Int32])]], rowLength: Int) {
    var segments: [Int] = []
    for (index, row) in rows.enumerated() {
      for sample in row {
        segments.append(tokens.count)
        places.append(tokens.count..<tokens.count + sample.tokens.count)
        tokens += sample.tokens
        labels += sample.labels.dropFirst() + [Label.ignored]
      }
      let padding = (index + 1) * rowLength - tokens.count
      if padding > 0 {
        segments.append(tokens.count)
        tokens += [Int32](repeating: 0, count: padding)
        labels += [Int32](repeating: Label.ignored, count: padding)
      }
    }
    layout = SequenceLayout(rowLength: rowLength, segments: segments + [tokens.count])
  }

  var microBatch: MicroBatch { MicroBatch(tokens: tokens, labels: labels, layout: layout) }

  var labelCount: Int { labels.count { $0 != Label.ignored } }

  /// The golden samples: the first two share a row, the third is padded.
  static func golden() throws -> PackedRows {
    let json = try JSONValue.parse(contentsOf: "\(TransformerTests.golden)/samples.json")
    func lists(_ key: String) -> [[Int32]] {
      (json[key]?.arrayValue ?? []).map { ($0.arrayValue ?? []).compactMap { $0.intValue.map { Int32($0) } } }
    }
    let samples = zip(lists("tokens"), lists("labels")).map { (tokens: $0, labels: $1) }
    return PackedRows([[samples[0], samples[1]], [samples[2]]], rowLength: 18)
  }

  /// The golden samples with the labels that the scripts for models with labels give them.
  ///
  /// - Parameters:
  ///   - labelsTokens: whether every token has a label, or a sample one
  ///   - isEncoder: whether the first token has it, or the last
  static func goldenLabels(labelsTokens: Bool, isEncoder: Bool) throws -> PackedRows {
    var rows = try golden()
    rows.tokens = rows.tokens.map { max($0, 2) }
    rows.labels = [Int32](repeating: Label.ignored, count: rows.labels.count)
    for (number, place) in rows.places.enumerated() {
      if labelsTokens {
        for token in place where rows.tokens[token] % 4 != 3 { rows.labels[token] = rows.tokens[token] % 3 }
      } else {
        rows.labels[isEncoder ? place.lowerBound : place.upperBound - 1] = Int32(number % 3)
      }
    }
    return rows
  }

  /// Made-up samples, each in a row of its own.
  static func made(rows: Int, length: Int, vocabulary: UInt64, seed: UInt64 = 1) -> PackedRows {
    var generator = SplitMix64(seed: seed)
    return PackedRows(
      (0..<rows).map { _ in
        let tokens = (0..<length).map { _ in Int32(generator.next() % vocabulary) }
        return [(tokens: tokens, labels: tokens)]
      }, rowLength: length)
  }
}

extension PackedRows {
  /// Whole rows of up to `tokens` tokens each.
  func split(into tokens: Int) -> [MicroBatch] {
    let step = max(1, tokens / layout.rowLength) * layout.rowLength
    return stride(from: 0, to: self.tokens.count, by: step).map { start in
      let range = start..<min(start + step, self.tokens.count)
      let segments = layout.segments.filter { $0 >= range.lowerBound && $0 <= range.upperBound }
      return MicroBatch(
        tokens: Array(self.tokens[range]), labels: Array(labels[range]),
        layout: SequenceLayout(rowLength: layout.rowLength, segments: segments.map { $0 - range.lowerBound }))
    }
  }
}

extension TrainingStrategy {
  /// Everything is kept and computed at once.
  static let rich = TrainingStrategy(
    groupRows: 64, microBatchSize: 64, keptAttentionLayers: 64, keptFeedForwardLayers: 64, headRows: 64)
}

/// A model with an adapter, and the memory to train or to generate.
final class Bench {
  let model: LanguageModel
  let method: any TuningMethod
  let workspace: Workspace
  /// For logits, which training in 8 bits does not keep.
  private let evaluation: Workspace
  let pass: Pass
  let cache: KeyValueCache
  private let arena: Arena

  /// - Parameters:
  ///   - adapter: folder; `nil` makes a random one, and of LoRA one with `B` not zero
  ///   - cacheCapacity: positions of the key-value cache
  init(
    _ directory: String, adapter: String? = nil, configuration: (any TuningConfiguration)? = nil,
    precision: Precision = .f32, threads: Int = 2, tokens: Int, rowLength: Int, strategy: TrainingStrategy = .rich,
    cacheCapacity: Int? = nil
  ) throws {
    let model = try LanguageModel(store: try WeightStore.open(directory))
    let fallback = LowRankConfiguration(rank: 4, alpha: 8, targetModules: .allLinear)
    let chosen = try adapter.map { try AdapterFolder.configuration(of: $0) } ?? configuration ?? fallback
    let pool = ThreadPool(threadCount: threads)
    let capacity = cacheCapacity == nil ? min(strategy.microBatchSize * rowLength, tokens) : tokens
    let positions = max(rowLength, cacheCapacity ?? 0)
    let (arena, made) = try Arena.filled { arena in
      let method = try chosen.reserve(for: model, in: TuningRoom(arena: arena, trainingTokens: capacity))
      let engine = ComputeEngine(
        precision: precision, pool: pool,
        demands: model.demands(
          tokens: tokens, feedForwardTokens: strategy.feedForwardTokens, headRows: strategy.headRows,
          gradients: true),
        arena: arena)
      let workspace = Workspace(
        model: model, keptColumns: { method.keptColumns(at: $0) }, blockAdapters: { method.blockAdapters(at: $0) },
        prefixCount: method.prefixCount, replaced: method.replaced,
        tokenCapacity: capacity, groupTokens: tokens, positionCount: positions,
        headRows: cacheCapacity == nil ? strategy.headRows : 1,
        purpose: cacheCapacity.map { .generation(capacity: $0) }
          ?? .training(strategy, spillDirectory: NSTemporaryDirectory()),
        precision: precision, threadCount: threads, arena: arena)
      let evaluation = Workspace(
        model: model, keptColumns: { method.keptColumns(at: $0) }, blockAdapters: { method.blockAdapters(at: $0) },
        prefixCount: method.prefixCount,
        tokenCapacity: tokens, positionCount: positions,
        headRows: strategy.headRows, purpose: .evaluation, precision: precision, threadCount: threads, arena: arena)
      return (
        method, engine, workspace, evaluation, KeyValueCache(model: model, capacity: cacheCapacity ?? 1, arena: arena)
      )
    }
    self.arena = arena
    self.model = model
    (method, workspace, evaluation, cache) = (made.0, made.2, made.3, made.4)
    let drops = (chosen as? LowRankConfiguration).map { $0.dropout > 0 } ?? false
    pass = Pass(engine: made.1, dropoutSeed: drops ? 7 : nil)
    workspace.prepare()
    evaluation.prepare()
    method.attach(to: model)
    if let adapter {
      try method.load(from: adapter)
    } else {
      method.initialize(seed: 11)
      var generator = SplitMix64(seed: 12)
      for layer in (method as? LowRankMethod)?.adapters ?? [] {
        for row in 0..<layer.bTransposed.rows {
          layer.bTransposed.row(row).assign(
            (0..<layer.bTransposed.columns).map { _ in generator.uniform(in: -0.05...0.05) })
        }
      }
    }
  }

  /// Mean loss per label; its gradient is in `gradients` afterwards.
  func lossAndGradient(_ rows: PackedRows) throws -> Double {
    VectorOperations.fill(method.trainables.gradients, with: 0)
    method.parametersChanged(pool: pass.engine.pool)
    let sum = try model.lossAndGradient(
      rows.split(into: workspace.tokenCapacity), gradientScale: 1 / Float(rows.labelCount), workspace: workspace,
      pass: pass)
    method.completeGradients(pool: pass.engine.pool)
    return sum / Double(rows.labelCount)
  }

  func loss(_ rows: PackedRows) throws -> Double {
    try model.loss(rows.split(into: workspace.tokenCapacity), workspace: workspace, pass: pass)
      / Double(rows.labelCount)
  }

  /// Logits after every token.
  func logits(_ rows: PackedRows) throws -> [[Float]] {
    var result: [[Float]] = []
    try model.logits(rows.microBatch, workspace: evaluation, pass: pass) { range, logits in
      result += (0..<range.count).map { logits.row($0).values }
    }
    return result
  }

  var gradients: [String: [Float]] {
    Dictionary(uniqueKeysWithValues: method.trainables.entries.map { ($0.name, $0.gradientValues) })
  }
}

/// `|a - b| / |b|`
func relativeError(_ a: [Float], _ b: [Float]) -> Double {
  precondition(a.count == b.count, "vectors of one length")
  let difference = zip(a, b).reduce(0.0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }
  let size = b.reduce(0.0) { $0 + Double($1) * Double($1) }
  return difference == 0 ? 0 : (difference / size).squareRoot()
}

/// The cosine of the angle between two vectors.
func cosine(_ a: [Float], _ b: [Float]) -> Double {
  var (aa, ab, bb) = (0.0, 0.0, 0.0)
  for (x, y) in zip(a, b) {
    aa += Double(x) * Double(x)
    ab += Double(x) * Double(y)
    bb += Double(y) * Double(y)
  }
  return ab / (aa * bb).squareRoot()
}
