import Foundation
import Kernels
import Testing
import Transformer
import Tuning
import WeightStore

/// What must not change a single bit.
struct ExactnessTests {
  /// Ways to spend less memory, all of which must cost time alone.
  static let frugal: [(String, @Sendable (inout TrainingStrategy) -> Void)] = [
    ("attention is computed again", { $0.keptAttentionLayers = 0 }),
    ("feed-forward is computed again", { $0.keptFeedForwardLayers = 1 }),
    ("everything is computed again", { ($0.keptAttentionLayers, $0.keptFeedForwardLayers) = (0, 0) }),
    ("row by row in one pass", { ($0.microBatchSize, $0.keptFeedForwardLayers) = (1, 2) }),
    ("parts of rows", { ($0.feedForwardTokens, $0.keptFeedForwardLayers) = (128, 1) }),
    ("inputs in a file", { ($0.layerInputs, $0.microBatchSize, $0.keptAttentionLayers) = (.spilled, 2, 1) }),
    ("the head in chunks", { $0.headRows = 16 }),
    ("the head in slices", { ($0.headRows, $0.headColumns) = (48, 512) }),
    (
      "the head passes through in slices",
      { ($0.headRows, $0.headColumns, $0.isHeadResident, $0.microBatchSize) = (48, 512, false, 1) }
    ),
    ("the head passes through whole", { ($0.headRows, $0.isHeadResident, $0.groupRows) = (160, false, 3) }),
    ("weights pass through", { ($0.residentLayers, $0.isHeadResident, $0.keptAttentionLayers) = (1, false, 0) }),
  ]

  @Test(arguments: Precision.allCases, frugal.indices) func frugalStepsGiveTheGradientOfRichOnes(
    _ precision: Precision, index: Int
  ) throws {
    let rows = PackedRows.made(rows: 3, length: 150, vocabulary: 1024)
    let configuration = LowRankConfiguration(rank: 4, dropout: 0.1, targetModules: .allLinear)
    func run(_ strategy: TrainingStrategy) throws -> (loss: Double, gradients: [String: [Float]]) {
      let bench = try Bench(
        tinyLlama, configuration: configuration, precision: precision, tokens: 450, rowLength: 150, strategy: strategy)
      return (try bench.lossAndGradient(rows), bench.gradients)
    }
    var strategy = TrainingStrategy.rich
    Self.frugal[index].1(&strategy)
    let rich = try run(.rich)
    let frugal = try run(strategy)
    if precision == .int8 {
      #expect(abs(frugal.loss / rich.loss - 1) < 1e-12, "\(Self.frugal[index].0)")
      #expect(frugal.gradients == rich.gradients, "\(Self.frugal[index].0)")
      return
    }
    // OpenBLAS sums in another order when a product has another number of rows.
    #expect(abs(frugal.loss / rich.loss - 1) < 1e-6, "\(Self.frugal[index].0)")
    for (name, values) in rich.gradients {
      let error = relativeError(try #require(frugal.gradients[name]), values)
      #expect(error < 2e-5, "\(Self.frugal[index].0): \(name) by \(error)")
    }
  }

  /// The same for texts of the golden models, whose families bring parallel blocks, norms behind them, windows and fused
  /// layers; in 8 bits, where nothing may depend on the plan.
  static let frugalForFamilies: [(String, @Sendable (inout TrainingStrategy) -> Void)] = [
    ("attention is computed again", { $0.keptAttentionLayers = 0 }),
    ("feed-forward is computed again", { $0.keptFeedForwardLayers = 0 }),
    ("everything is computed again", { ($0.keptAttentionLayers, $0.keptFeedForwardLayers) = (0, 0) }),
    ("row by row in one pass", { ($0.microBatchSize, $0.keptFeedForwardLayers) = (1, 1) }),
    ("parts of rows", { ($0.feedForwardTokens, $0.keptFeedForwardLayers) = (128, 0) }),
    ("inputs in a file", { ($0.layerInputs, $0.microBatchSize, $0.keptAttentionLayers) = (.spilled, 2, 1) }),
    ("the head in chunks", { $0.headRows = 16 }),
    ("the head passes through", { ($0.headRows, $0.isHeadResident, $0.microBatchSize) = (16, false, 1) }),
    (
      "weights pass through",
      { ($0.residentLayers, $0.isHeadResident, $0.keptAttentionLayers, $0.keptFeedForwardLayers) = (0, false, 0, 0) }
    ),
  ]

  /// LoRA with what can be trained beside it: every bias and the rows of some tokens.
  static func withAll(_ configuration: LowRankConfiguration, embedsPlainly: Bool = true) -> LowRankConfiguration {
    var configuration = configuration
    configuration.biases = .all
    if embedsPlainly { configuration.trainedTokens = [.init(tokens: [9, 3, 40, 11])] }
    return configuration
  }

  /// What is trained beside LoRA's factors.
  enum Beside: CaseIterable, Sendable {
    case nothing
    /// Biases and rows of tokens.
    case parts
    /// Norms, embedding and head; tied ones become two matrices.
    case modules
    /// The same, where tied ones stay one.
    case tiedModules
  }

  /// LoRA with whole modules beside it: all that the model has.
  static func withModules(_ configuration: LowRankConfiguration, of variant: String) throws -> LowRankConfiguration {
    let model = try LanguageModel(store: try WeightStore.open("\(golden)/\(variant)"))
    var configuration = configuration
    configuration.wholeModules = model.normWeights.map(\.path)
    let embedding = model.description.embedding.tokens.name.dropLast(".weight".count)
    if model.embedsPlainly { configuration.wholeModules.append(String(embedding)) }
    if model.vocabularyHeadShape != nil { configuration.wholeModules.append("lm_head") }
    return configuration
  }

  @Test(arguments: variants, Beside.allCases) func frugalStepsOfEveryFamilyGiveTheGradientOfRichOnes(
    _ variant: String, beside: Beside
  ) throws {
    // More tokens than outlier columns are shared by, where positions are no table of 24.
    let length = variant.hasPrefix("gpt2") || variant.hasPrefix("opt") ? 24 : 150
    let rows = PackedRows.made(rows: 3, length: length, vocabulary: 64, seed: 5)
    let plain = LowRankConfiguration(rank: 4, dropout: 0.1, targetModules: .allLinear)
    var configuration = plain
    switch beside {
    case .nothing: break
    case .parts: configuration = Self.withAll(plain, embedsPlainly: variant != "opt-350m")
    case .modules: configuration = try Self.withModules(plain, of: variant)
    case .tiedModules:
      guard variant != "opt-350m" else { return }
      configuration = try Self.withModules(plain, of: variant)
      configuration.ensuresWeightTying = true
    }
    func run(_ strategy: TrainingStrategy) throws -> (loss: Double, gradients: [String: [Float]]) {
      let bench = try Bench(
        "\(golden)/\(variant)", configuration: configuration, precision: .int8, tokens: rows.tokens.count,
        rowLength: length, strategy: strategy)
      return (try bench.lossAndGradient(rows), bench.gradients)
    }
    let rich = try run(.rich)
    #expect(rich.gradients.values.allSatisfy { $0.contains { $0 != 0 } && $0.allSatisfy(\.isFinite) })
    for (name, change) in Self.frugalForFamilies {
      var strategy = TrainingStrategy.rich
      change(&strategy)
      let frugal = try run(strategy)
      #expect(abs(frugal.loss / rich.loss - 1) < 1e-12, "\(name)")
      #expect(frugal.gradients == rich.gradients, "\(name)")
    }
  }

  /// Along the gradient of each, the loss changes as the gradient says; in an embedding with a scale (gemma3), a norm (bert)
  /// or plain, tied to the head (gpt2, gemma3) or not.
  @Test(arguments: ["gpt2", "gemma3", "llama", "bert"]) func biasesAndRowsOfTokensFollowTheirGradients(
    _ variant: String
  ) throws {
    let rows =
      variant == "bert"
      ? try PackedRows.goldenLabels(labelsTokens: false, isEncoder: true)
      : PackedRows.made(rows: 2, length: 24, vocabulary: 64, seed: 5)
    let bench = try Bench(
      "\(golden)/\(variant)", configuration: Self.withAll(LowRankConfiguration(rank: 2)), tokens: rows.tokens.count,
      rowLength: rows.tokens.count / 2)
    _ = try bench.lossAndGradient(rows)
    let all = bench.method.trainables.entries
    for entry in all where entry.name.hasSuffix("bias") || entry.name.contains("trainable_tokens") {
      let (values, gradient) = (entry.values, entry.gradientValues)
      let square = gradient.reduce(0.0) { $0 + Double($1) * Double($1) }
      guard square > 1e-9 else {
        #expect(entry.name.contains(".key."), "\(entry.name): only a key's bias is not seen by the softmax")
        continue
      }
      let step = 0.01 / Float(square)
      func loss(_ step: Float) throws -> Double {
        entry.assign(zip(values, gradient).map { $0 + step * $1 })
        return try bench.lossAndGradient(rows)
      }
      let change = try loss(step / 2) - loss(-step / 2)
      entry.assign(values)
      #expect(abs(change / (Double(step) * square) - 1) < 0.02, "\(entry.name): \(change) of \(Double(step) * square)")
    }
    #expect(all.contains { $0.name.contains("trainable_tokens") && $0.gradientValues.contains { $0 != 0 } })
  }

  /// Where transformers tells the embedding which token fills up rows, that one's row learns nothing there; GPT-2's does.
  @Test(arguments: ["llama-biases", "gpt2-options"]) func theRowOfPaddingLearnsNothingWhereItIsEmbedded(
    _ variant: String
  ) throws {
    var rows = PackedRows.made(rows: 1, length: 24, vocabulary: 64, seed: 5)
    (rows.tokens[2], rows.tokens[3]) = (0, 9)
    var configuration = LowRankConfiguration(rank: 2)
    configuration.trainedTokens = [.init(tokens: [0, 9])]
    let bench = try Bench("\(golden)/\(variant)", configuration: configuration, tokens: 24, rowLength: 24)
    _ = try bench.lossAndGradient(rows)
    let entry = try #require(bench.method.trainables.entries.first { $0.name.contains("trainable_tokens") })
    let (padding, other) = (entry.gradient.row(0).values, entry.gradient.row(1).values)
    #expect(padding.allSatisfy { $0 == 0 } == (variant == "llama-biases"))
    #expect(other.contains { $0 != 0 })
  }

  /// The same of whole modules: norms of rows and of heads, whose files hold all of a weight or what it differs from 1 by; an
  /// embedding that is scaled or normalised, and a head, tied or not.
  @Test(arguments: ["gpt2", "gemma3", "llama", "bert", "qwen3", "neox", "opt-350m"], [false, true])
  func wholeModulesFollowTheirGradients(_ variant: String, ensuresTying: Bool) throws {
    if ensuresTying, variant == "opt-350m" { return }
    let rows =
      variant == "bert"
      ? try PackedRows.goldenLabels(labelsTokens: false, isEncoder: true)
      : PackedRows.made(rows: 2, length: 24, vocabulary: 64, seed: 5)
    var configuration = try Self.withModules(LowRankConfiguration(rank: 2), of: variant)
    configuration.ensuresWeightTying = ensuresTying
    let bench = try Bench(
      "\(golden)/\(variant)", configuration: configuration, tokens: rows.tokens.count, rowLength: rows.tokens.count / 2)
    let before = try Bench(
      "\(golden)/\(variant)", configuration: LowRankConfiguration(rank: 2), tokens: rows.tokens.count,
      rowLength: rows.tokens.count / 2)
    let (loss, plain) = try (bench.lossAndGradient(rows), before.lossAndGradient(rows))
    // OpenBLAS sums in another order than the products with what is trained.
    #expect(abs(loss - plain) < 1e-5, "they start as the model's")
    let modules = bench.method.trainables.entries.filter { entry in
      configuration.wholeModules.contains { entry.name.hasPrefix("base_model.model.\($0).") }
    }
    #expect(modules.count >= configuration.wholeModules.count - (ensuresTying ? 1 : 0))
    for entry in modules {
      let (values, gradient) = (entry.values, entry.gradientValues)
      let square = gradient.reduce(0.0) { $0 + Double($1) * Double($1) }
      #expect(square > 1e-9, "\(entry.name)")
      let step = 0.01 / Float(square)
      func loss(_ step: Float) throws -> Double {
        entry.assign(zip(values, gradient).map { $0 + step * $1 })
        return try bench.lossAndGradient(rows)
      }
      let change = try loss(step / 2) - loss(-step / 2)
      entry.assign(values)
      #expect(abs(change / (Double(step) * square) - 1) < 0.02, "\(entry.name): \(change) of \(Double(step) * square)")
    }
  }

  @Test(arguments: variants) func threadCountsGiveTheSameBitsForEveryFamily(_ variant: String) throws {
    let rows = try PackedRows.golden()
    let results = try [1, 2, 5].map { threads in
      let bench = try Bench(
        "\(golden)/\(variant)", precision: .int8, threads: threads, tokens: rows.tokens.count, rowLength: 18)
      return (loss: try bench.lossAndGradient(rows), gradients: bench.gradients, logits: try bench.logits(rows))
    }
    for other in results.dropFirst() {
      #expect(other.loss == results[0].loss)
      #expect(other.gradients == results[0].gradients)
      #expect(other.logits == results[0].logits)
    }
  }

  /// A window hides what stands before it, in training and in 8 bits alike.
  @Test(arguments: ["mistral-window", "phi3-window"]) func aWindowHidesWhatStandsBeforeIt(_ variant: String) throws {
    var rows = PackedRows.made(rows: 1, length: 20, vocabulary: 64)
    let bench = try Bench("\(golden)/\(variant)", precision: .int8, tokens: 20, rowLength: 20)
    let before = try bench.logits(rows)
    rows.tokens[2] = (rows.tokens[2] + 1) % 64
    let after = try bench.logits(rows)
    // One layer, a window of four: token 2 is seen by itself and by three behind it. Which columns of a row are exact in
    // 8 bits may depend on every token, so what lies in front is compared in the fp32 tests alone.
    #expect(before[2] != after[2] && before[5] != after[5])
    let exact = try Bench("\(golden)/\(variant)", tokens: 20, rowLength: 20)
    let hidden = try exact.logits(rows)
    rows.tokens[2] = (rows.tokens[2] + 63) % 64
    let original = try exact.logits(rows)
    #expect(Array(hidden[6...]) == Array(original[6...]) && hidden[5] != original[5])
  }

  /// Layer inputs in fewer bits change gradients, but not by much.
  @Test(arguments: [(LayerInputFormat.bf16, 0.9999), (.int8, 0.999)]) func lossyLayerInputsTurnGradientsLittle(
    _ format: LayerInputFormat, least: Double
  ) throws {
    let rows = PackedRows.made(rows: 2, length: 64, vocabulary: 1024)
    func run(_ format: LayerInputFormat) throws -> [Float] {
      var strategy = TrainingStrategy.rich
      (strategy.layerInputs, strategy.keptAttentionLayers, strategy.keptFeedForwardLayers) = (format, 0, 0)
      let bench = try Bench(tinyLlama, tokens: 128, rowLength: 64, strategy: strategy)
      _ = try bench.lossAndGradient(rows)
      return bench.gradients.sorted { $0.key < $1.key }.flatMap(\.value)
    }
    let exact = try run(.f32)
    let angle = cosine(try run(format), exact)
    #expect(angle > least && angle < 1, "cosine \(angle)")
  }

  @Test func dropoutChangesTheGradient() throws {
    let rows = PackedRows.made(rows: 1, length: 32, vocabulary: 1024)
    func run(_ dropout: Double) throws -> [String: [Float]] {
      let bench = try Bench(
        tinyLlama, configuration: LowRankConfiguration(rank: 4, dropout: dropout, targetModules: .allLinear),
        tokens: 32, rowLength: 32)
      _ = try bench.lossAndGradient(rows)
      return bench.gradients
    }
    #expect(try run(0.3) != run(0))
  }

  @Test(arguments: Precision.allCases) func threadCountsGiveTheSameBits(_ precision: Precision) throws {
    let rows = PackedRows.made(rows: 3, length: 50, vocabulary: 1024)
    let results = try [1, 2, 3, 7].map { threads in
      let bench = try Bench(tinyLlama, precision: precision, threads: threads, tokens: 150, rowLength: 50)
      return (loss: try bench.lossAndGradient(rows), gradients: bench.gradients, logits: try bench.logits(rows))
    }
    for other in results.dropFirst() {
      #expect(other.loss == results[0].loss)
      #expect(other.gradients == results[0].gradients)
      #expect(other.logits == results[0].logits)
    }
  }

  @Test(arguments: Precision.allCases) func lossWithoutGradientIsTheLossOfTraining(_ precision: Precision) throws {
    let rows = PackedRows.made(rows: 2, length: 40, vocabulary: 1024)
    let bench = try Bench(tinyLlama, precision: precision, tokens: 80, rowLength: 40)
    #expect(try bench.loss(rows) == bench.lossAndGradient(rows))
  }

  /// What stands in other samples of a row must not reach a sample: with fp32 products no bit of it.
  @Test func packedSamplesDoNotSeeEachOther() throws {
    let made = PackedRows.made(rows: 3, length: 20, vocabulary: 1024)
    let samples = made.places.map { (tokens: Array(made.tokens[$0]), labels: Array(made.tokens[$0])) }
    let bench = try Bench(tinyLlama, tokens: 60, rowLength: 40)
    let packed = PackedRows([[samples[0], samples[1]]], rowLength: 40)
    let others = PackedRows([[samples[2], samples[1]]], rowLength: 40)
    let first = try bench.logits(packed)
    let second = try bench.logits(others)
    #expect(Array(first[20..<40]) == Array(second[20..<40]))
    #expect(Array(first[0..<20]) != Array(second[0..<20]))
    // A row of its own has other shapes of products, so sums may be ordered differently.
    let alone = try bench.logits(PackedRows([[samples[1]]], rowLength: 20))
    let worst = zip(first[20..<40].joined(), alone.joined()).map { abs($0 - $1) }.max() ?? 1
    #expect(worst < 1e-4, "largest difference \(worst)")
  }

  /// With 8-bit products a row may choose its exact columns; other rows must still not matter.
  @Test func rowsOfABatchDoNotSeeEachOther() throws {
    let made = PackedRows.made(rows: 3, length: 24, vocabulary: 1024)
    let samples = made.places.map { (tokens: Array(made.tokens[$0]), labels: Array(made.tokens[$0])) }
    let bench = try Bench(tinyLlama, precision: .int8, tokens: 48, rowLength: 24)
    let first = try bench.logits(PackedRows([[samples[0]], [samples[1]]], rowLength: 24))
    let second = try bench.logits(PackedRows([[samples[2]], [samples[1]]], rowLength: 24))
    let alone = try bench.logits(PackedRows([[samples[1]]], rowLength: 24))
    #expect(Array(first[24..<48]) == Array(second[24..<48]))
    #expect(Array(first[24..<48]) == alone)
  }

  @Test func laterTokensDoNotReachEarlierOnes() throws {
    var rows = PackedRows.made(rows: 1, length: 30, vocabulary: 1024)
    let bench = try Bench(tinyLlama, tokens: 30, rowLength: 30)
    let before = try bench.logits(rows)
    rows.tokens[20] = (rows.tokens[20] + 1) % 1024
    let after = try bench.logits(rows)
    #expect(Array(before[0..<20]) == Array(after[0..<20]))
    #expect(before[20] != after[20])
  }
}
