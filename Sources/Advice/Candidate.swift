import Architectures

/// A method with the options that give it the size at which it was measured: about as many parameters as LoRA of rank 8 at
/// queries and values has in the same model.
public struct Candidate: Sendable, Equatable {
  /// As the table of measured methods calls it.
  public let name: String
  /// Options of `train` in the order in which a command gives them; all of them take a value.
  public let options: [Option]
  /// Where none was measured for a task.
  public let usualLearningRate: Double
  /// Numbers that its file holds, where an encoder that makes them is trained and not written; else it holds what is trained.
  let storedParameters: Int?

  public struct Option: Sendable, Equatable {
    public let name: String
    public let value: String
  }

  init(_ name: String, _ usualLearningRate: Double, _ options: [(String, String)], stored: Int? = nil) {
    self.name = name
    self.usualLearningRate = usualLearningRate
    storedParameters = stored
    self.options = options.map { Option(name: $0.0, value: $0.1) }
  }

  /// The word behind `--method`.
  public var method: String { options.first { $0.name == "method" }?.value ?? "lora" }

  /// Every method in the size that fits a model.
  public static func all(for model: ModelDescription) -> [Candidate] {
    let sizes = Sizes(model)
    let (prefix, prompt) = ("\(sizes.prefixTokens)", sizes.promptTokens)
    let lowRank = [("rank", "8"), ("alpha", "16")]
    func bottleneck(_ kind: String, places: Int) -> Candidate {
      Candidate(
        "bottleneck, \(kind)", 1e-3,
        [
          ("method", "bottleneck"), ("adapter-config", kind),
          ("reduction-factor", "\(sizes.reduction(places: places))"),
        ])
    }
    return [
      Candidate("lora", 1e-3, [("method", "lora")] + lowRank),
      Candidate("lora, all linear", 1e-3, [("method", "lora")] + lowRank + [("target-modules", "all-linear")]),
      Candidate("dora", 1e-3, [("method", "dora")] + lowRank),
      Candidate("ia3", 1e-2, [("method", "ia3")]),
      bottleneck("seq_bn", places: 1), bottleneck("par_bn", places: 1), bottleneck("double_seq_bn", places: 2),
      Candidate("prefix_tuning", 1e-2, [("method", "prefix_tuning"), ("num-virtual-tokens", prefix)]),
      Candidate(
        "ptuning_v2", 1e-3, [("method", "ptuning_v2"), ("num-virtual-tokens", prefix)],
        stored: sizes.prefixTokens * sizes.prefixTokenParameters),
      Candidate("prompt_tuning", 1e-2, [("method", "prompt_tuning"), ("num-virtual-tokens", "\(min(100, prompt))")]),
      Candidate(
        "p_tuning", 1e-3, [("method", "p_tuning"), ("num-virtual-tokens", "\(min(20, prompt))")],
        stored: min(20, prompt) * model.hiddenSize),
    ]
  }

  /// Numbers that make methods alike in size.
  private struct Sizes {
    let hidden: Int
    let layers: Int
    /// Columns of a layer's keys.
    let keys: Int
    /// Parameters of LoRA at queries and values.
    let target: Int

    init(_ model: ModelDescription) {
      hidden = model.hiddenSize
      layers = model.layers.count
      let attention = model.layers[0].attention
      keys = attention.keyValueHeadCount * attention.headSize
      let queries = attention.headCount * attention.headSize
      target = 8 * layers * (2 * hidden + queries + keys)
    }

    private func nearest(_ perToken: Int) -> Int { max(1, Int((Double(target) / Double(perToken)).rounded())) }

    var prefixTokenParameters: Int { 2 * keys * layers }
    var prefixTokens: Int { nearest(prefixTokenParameters) }
    var promptTokens: Int { nearest(hidden) }

    /// A factor that leaves a whole width.
    func reduction(places: Int) -> Int {
      let wanted = Double(target) / Double(2 * hidden * layers * places)
      let widths = (1...hidden).filter { hidden % $0 == 0 }
      let width = widths.min { abs(Double($0) - wanted) < abs(Double($1) - wanted) } ?? 1
      return hidden / width
    }
  }
}
