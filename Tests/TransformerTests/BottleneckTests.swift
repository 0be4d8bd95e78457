import Formats
import Foundation
import Kernels
import Testing
import Transformer
import Tuning

/// Bottlenecks at blocks that end with a norm, have one in front of the sum or stand side by side, against AdapterHub's in
/// float64, and what no plan may change of any.
struct BottleneckTests {
  static let folders = [
    ("bert", "seq_bn"), ("bert", "double_seq_bn"), ("bert", "par_bn"), ("distilbert", "seq_bn"),
    ("distilbert", "double_seq_bn"), ("roberta", "seq_bn"), ("xlm-roberta", "double_seq_bn"),
    ("bert", "seq_bn+par_bn"), ("distilbert", "double_seq_bn+par_bn"),
  ]

  /// With norms in front of the sum, side by side, and where AdapterHub has an interface in place of classes.
  static let decoders = [
    ("gemma3", "seq_bn"), ("gemma3", "double_seq_bn"), ("gemma3", "par_bn"), ("gemma3", "double_seq_bn+par_bn"),
    ("neox", "seq_bn"), ("neox", "double_seq_bn"), ("neox", "par_bn"), ("neox", "seq_bn+par_bn"), ("qwen3", "seq_bn"),
  ]

  private func bench(_ model: String, _ kind: String) throws -> (
    bench: Bench, rows: PackedRows, expected: SafetensorsFile
  ) {
    let labelsTokens = ["distilbert", "xlm-roberta"].contains(model)
    let folder = "\(golden)/bottlenecks/\(model)-\(kind)"
    return (
      try Bench("\(golden)/\(model)", adapter: folder, tokens: 36, rowLength: 18),
      try .goldenLabels(labelsTokens: labelsTokens, isEncoder: true), try SafetensorsFile(path: "\(folder)/expected")
    )
  }

  @Test(arguments: folders) func whatIsSaidOfLabelsIsThatOfAdapterHub(model: String, kind: String) throws {
    let (bench, rows, expected) = try bench(model, kind)
    var found: [Float] = []
    _ = try bench.model.loss([rows.microBatch], workspace: bench.workspace, pass: bench.pass) { logits in
      found += (0..<logits.rows).flatMap { logits.row($0).values }
    }
    let wanted = try #require(expected.tensor("logits")).floats()
    try #require(found.count == wanted.count && !wanted.isEmpty)
    #expect(relativeError(found, wanted) < 2e-5)
  }

  /// The loss and the gradient of every tensor that is trained.
  private func checkGradients(_ bench: Bench, _ rows: PackedRows, _ expected: SafetensorsFile) throws {
    let loss = try bench.lossAndGradient(rows)
    let wanted = Double(try #require(expected.tensor("loss")).floats()[0])
    #expect(abs(loss / wanted - 1) < 1e-5, "loss \(loss) against \(wanted)")
    let gradients = bench.gradients
    #expect(Set(gradients.keys) == Set(expected.tensorNames).subtracting(["loss", "logits"]))
    for (name, gradient) in gradients {
      let error = relativeError(gradient, try #require(expected.tensor(name)).floats())
      #expect(error < 2e-5, "\(name): relative error \(error)")
    }
  }

  @Test(arguments: folders) func gradientsAreThoseOfAutograd(model: String, kind: String) throws {
    let (bench, rows, expected) = try bench(model, kind)
    try checkGradients(bench, rows, expected)
  }

  @Test(arguments: decoders) func decodersAreThoseOfAdapterHub(model: String, kind: String) throws {
    let folder = "\(golden)/bottlenecks/\(model)-\(kind)"
    let expected = try SafetensorsFile(path: "\(folder)/expected")
    let rows = try PackedRows.golden()
    let bench = try Bench("\(golden)/\(model)", adapter: folder, tokens: 36, rowLength: 18)
    let logits = try bench.logits(rows)
    let found = rows.places.flatMap { $0.flatMap { logits[$0] } }
    #expect(relativeError(found, try #require(expected.tensor("logits")).floats()) < 2e-5)
    try checkGradients(bench, rows, expected)
  }

  @Test(arguments: ["gemma3", "neox", "qwen3"]) func foldersSayWhereAdapterHubFindsTheBlocks(model: String) throws {
    let bench = try Bench(
      "\(golden)/\(model)", configuration: BottleneckConfiguration(reductionFactor: 8), tokens: 36, rowLength: 18)
    func interface(_ folder: String) throws -> AdapterHubInterface {
      let path = "\(folder)/adapter_interface.json"
      return try AdapterHubInterface(json: try JSONValue.parse(contentsOf: path), file: path)
    }
    try withTemporaryFolder { folder in
      try bench.method.save(to: folder, baseModel: model)
      var found = try interface(folder)
      let wanted = try interface("\(golden)/bottlenecks/\(model)-seq_bn")
      #expect(found == wanted)
      found.names["layer_ln_2"] = "elsewhere"
      try found.write(to: folder)
      #expect(throws: UnsupportedAdapter.self) { try bench.method.load(from: folder) }
    }
  }

  /// With norms around the sum, in front of it and before the block, and blocks side by side.
  @Test(
    arguments: ["bert", "distilbert", "opt-350m", "llama", "gpt2", "gemma3", "neox"],
    BottleneckConfiguration.Kind.allCases)
  func noPlanChangesABit(_ model: String, kind: BottleneckConfiguration.Kind) throws {
    try checkPlans(model, BottleneckConfiguration(kind: kind, reductionFactor: 4))
  }

  /// A serial and a parallel one, in decoders with a prefix besides, and not in the first layer.
  @Test(arguments: ["bert", "distilbert", "opt-350m", "llama", "gpt2", "gemma3", "neox"], [false, true])
  func noPlanChangesABitOfTwoAtOnce(_ model: String, isDouble: Bool) throws {
    // This one has no other layer.
    let off = model == "opt-350m" ? [] : [0]
    let both = BottleneckConfiguration.together(
      serial: BottleneckConfiguration(
        kind: isDouble ? .doubleSequential : .sequential, reductionFactor: 4, leaveOut: off),
      parallel: BottleneckConfiguration(kind: .parallel, reductionFactor: 8, leaveOut: off, name: "parallel"))
    var prefix = PrefixConfiguration(count: 3)
    prefix.leaveOut = off
    let isEncoder = model.hasSuffix("bert")
    try checkPlans(
      model, CombinedConfiguration(both + (isEncoder ? [] : [.init(name: "prefix_tuning", configuration: prefix)])))
  }

  private func checkPlans(_ model: String, _ configuration: any TuningConfiguration) throws {
    let isEncoder = model.hasSuffix("bert")
    let rows =
      isEncoder
      ? try PackedRows.goldenLabels(labelsTokens: model == "distilbert", isEncoder: true)
      : PackedRows.made(rows: 3, length: 24 - configuration.virtualTokenCount, vocabulary: 64, seed: 5)
    func run(_ strategy: TrainingStrategy) throws -> (loss: Double, gradients: [String: [Float]]) {
      let bench = try Bench(
        "\(golden)/\(model)", configuration: configuration, precision: .int8,
        tokens: rows.tokens.count, rowLength: rows.layout.rowLength, strategy: strategy)
      // Where the upper matrix starts at zero, the lower one would have no gradient.
      for (index, entry) in bench.method.trainables.entries.enumerated() {
        entry.assign(entry.values.indices.map { 0.1 * Float(($0 * 37 + index * 11) % 23 - 11) / 11 })
      }
      return (try bench.lossAndGradient(rows), bench.gradients)
    }
    let rich = try run(.rich)
    #expect(rich.gradients.values.allSatisfy { $0.contains { $0 != 0 } && $0.allSatisfy(\.isFinite) })
    for (name, change) in ExactnessTests.frugalForFamilies {
      var strategy = TrainingStrategy.rich
      change(&strategy)
      let frugal = try run(strategy)
      #expect(abs(frugal.loss / rich.loss - 1) < 1e-12, "\(name)")
      #expect(frugal.gradients == rich.gradients, "\(name)")
    }
  }
}
