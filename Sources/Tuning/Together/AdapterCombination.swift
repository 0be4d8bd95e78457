import Formats
import Randomness

/// Several LoRA adapters as one, as PEFT's `add_weighted_adapter` combines them.
///
/// Sources: Ilharco et al. 2022, arXiv 2212.04089 (sums); Yadav et al. 2023, arXiv 2306.01708 (ties); Yu et al. 2023, arXiv
/// 2311.03099 (dare).
public struct AdapterCombination: Sendable {
  /// How, by PEFT's names.
  public enum Kind: String, Sendable, CaseIterable {
    /// Sums of the factors, each under the root of its weight: of one rank, and a rough approximation.
    case linear
    /// All factors beside each other: exact, and of the sum of the ranks.
    case cat
    /// The best approximation of the exact sum that has the rank.
    case svd
    case ties
    case dareLinear = "dare_linear"
    case dareTies = "dare_ties"
    case magnitudePrune = "magnitude_prune"
    /// No sum: experts between which every token chooses by prototypes that follow from them.
    case arrow
  }

  public var kind: Kind
  /// Share of the numbers that ties, dare and magnitude pruning keep.
  public var density: Double
  /// Of the result of `svd`; the largest of the adapters if `nil`.
  public var rank: Int?
  /// Of what dare drops.
  public var seed: UInt64
  /// Of `arrow`: experts at a token, and the temperature of the softmax over them.
  public var topK = 3
  public var temperature = 1.0

  public init(kind: Kind, density: Double = 1, rank: Int? = nil, seed: UInt64 = 42) {
    self.kind = kind
    self.density = density
    self.rank = rank
    self.seed = seed
  }

  /// What cannot be combined.
  public struct Failure: Error, CustomStringConvertible {
    public let description: String
  }

  /// Whether LoRA adapters have an exact sum: none of them has more than factors.
  public static func canSum(_ adapters: [WeightedAdapter]) -> Bool {
    guard let sources = try? adapters.map({ try LowRankFile(directory: $0.directory) }) else { return false }
    let cat = AdapterCombination(kind: .cat)
    return sources.allSatisfy { $0.file.common.modulesToSave.isEmpty } && (try? cat.targets(sources)) != nil
  }

  /// - Parameters:
  ///   - adapters: PEFT folders with their weights
  ///   - output: an existing folder
  public func combine(_ adapters: [WeightedAdapter], to output: String) throws {
    if kind == .arrow {
      try MixtureFiles.write(
        MixtureConfiguration(experts: try FrozenAdapters(adapters), topK: topK, temperature: temperature), to: output)
      return
    }
    let sources = try adapters.map { try LowRankFile(directory: $0.directory, weight: $0.weight) }
    guard let first = sources.first else { throw Failure(description: "no adapter to combine") }
    for source in sources {
      guard let module = source.file.common.modulesToSave.first else { continue }
      throw Failure(
        description: "\(source.directory): has a \(module) of its own (modules_to_save), which cannot be weighted or "
          + "summed; merge the adapter instead")
    }
    let kind = sources.count == 1 ? .linear : kind
    let rank = try rank(of: sources, kind: kind)
    var names: [String] = []
    for name in sources.flatMap(\.names) where !names.contains(name) { names.append(name) }
    var tensors: [(name: String, shape: [Int], values: [Float])] = []
    for (index, name) in names.enumerated() {
      let parts = try sources.compactMap { try $0.part(name) }
      var (a, b) = try combine(parts, kind: kind, rank: rank, name: name, seed: seed &+ UInt64(index) &* 0x9E37)
      a = a.padded(rows: rank)
      b = b.padded(rows: rank).transposed
      for (part, factor) in [("A", a), ("B", b)] {
        guard factor.values.allSatisfy({ Float($0).isFinite }) else {
          throw Failure(description: "\(name): the sum is not finite; give smaller weights")
        }
        tensors.append(
          ("\(name).lora_\(part).weight", [factor.rows, factor.columns], factor.values.map(Float.init)))
      }
    }
    try SafetensorsWriter.write(tensors, to: "\(output)/\(TrainableFiles.weightsName)")
    var file = first.file
    file.rank = rank
    file.alpha = Double(rank)
    file.rankPattern = []
    file.alphaPattern = []
    file.useRSLoRA = false
    file.targetModules = try targets(sources)
    try PEFTConfiguration.lora(file).write(to: output)
  }

  private func rank(of sources: [LowRankFile], kind: Kind) throws -> Int {
    let ranks = sources.map { source in max(source.file.rank, source.file.rankPattern.map(\.value).max() ?? 0) }
    switch kind {
    case .cat: return ranks.reduce(0, +)
    case .svd: return rank ?? ranks.max() ?? 1
    default:
      guard Set(ranks).count == 1 else {
        throw Failure(
          description:
            "\(kind.rawValue) needs adapters of one rank, these have \(ranks.map { "\($0)" }.joined(separator: ", "))"
            + "; use cat or svd")
      }
      return ranks[0]
    }
  }

  private func targets(_ sources: [LowRankFile]) throws -> PEFTModules {
    var names: Set<String> = []
    var patterns: [String] = []
    for source in sources {
      switch source.file.targetModules {
      case .names(let some)?: names.formUnion(some)
      case .pattern(let pattern)?: patterns.append("(\(pattern))")
      default: return .allLinear
      }
    }
    if patterns.isEmpty { return .names(names.sorted()) }
    guard names.isEmpty else {
      throw Failure(
        description: "target_modules is a pattern in some adapters and names in others; retrain or rename one")
    }
    return .pattern(patterns.joined(separator: "|"))
  }

  private func combine(
    _ parts: [LowRankFile.Part], kind: Kind, rank: Int, name: String, seed: UInt64
  ) throws -> (a: Factor, b: Factor) {
    switch kind {
    case .cat, .svd:
      let a = Factor(joining: parts.map { $0.a.scaled(by: $0.weight) })
      let b = Factor(joining: parts.map(\.b))
      return kind == .cat ? (a, b) : SmallDecomposition.truncated(a: a, b: b, rank: rank)
    default:
      guard Set(parts.map(\.a.rows)).count == 1 else {
        throw Failure(
          description: "\(name): \(kind.rawValue) needs one rank, the adapters have several; use cat or svd")
      }
      let roots = parts.map { abs($0.weight).squareRoot() }
      let signed = zip(parts, roots).map { $0.weight < 0 ? -$1 : $1 }
      return (
        mix(parts.map(\.a), weights: signed, kind: kind, seed: seed),
        mix(parts.map(\.b), weights: roots, kind: kind, seed: seed &+ 1)
      )
    }
  }

  /// One of the two factors of several adapters.
  private func mix(_ factors: [Factor], weights: [Double], kind: Kind, seed: UInt64) -> Factor {
    let pruned = factors.enumerated().map { index, factor -> Factor in
      switch kind {
      case .linear, .cat, .svd, .arrow: return factor
      case .ties, .magnitudePrune: return factor.largest(density)
      case .dareLinear, .dareTies: return factor.dropped(density, seed: seed &+ UInt64(index) &* 0xD1B5)
      }
    }
    var result = Factor(rows: factors[0].rows, columns: factors[0].columns)
    let electsSign = kind == .ties || kind == .dareTies
    for place in result.values.indices {
      guard electsSign else {
        var sum = 0.0
        for (factor, weight) in zip(pruned, weights) { sum += factor.values[place] * weight }
        result.values[place] = sum
        continue
      }
      var total = 0.0
      for factor in pruned { total += factor.values[place] }
      let majority: Double = total >= 0 ? 1 : -1
      var (sum, agreeing) = (0.0, 0)
      for (factor, weight) in zip(pruned, weights) where factor.values[place] * majority > 0 {
        sum += factor.values[place] * weight
        agreeing += 1
      }
      result.values[place] = sum / Double(max(agreeing, 1))
    }
    return result
  }
}

/// A small matrix in double precision.
struct Factor {
  let rows: Int
  let columns: Int
  var values: [Double]

  init(rows: Int, columns: Int, values: [Double]) {
    (self.rows, self.columns, self.values) = (rows, columns, values)
  }

  init(rows: Int, columns: Int) {
    self.init(rows: rows, columns: columns, values: [Double](repeating: 0, count: rows * columns))
  }

  /// Rows of all, one after the other.
  init(joining factors: [Factor]) {
    self.init(
      rows: factors.reduce(0) { $0 + $1.rows }, columns: factors.first?.columns ?? 0, values: factors.flatMap(\.values))
  }

  func row(_ index: Int) -> ArraySlice<Double> { values[index * columns..<(index + 1) * columns] }

  var transposed: Factor {
    var result = Factor(rows: columns, columns: rows)
    for row in 0..<rows {
      for column in 0..<columns { result.values[column * rows + row] = values[row * columns + column] }
    }
    return result
  }

  func scaled(by factor: Double) -> Factor {
    Factor(rows: rows, columns: columns, values: values.map { $0 * factor })
  }

  func padded(rows count: Int) -> Factor {
    Factor(
      rows: max(rows, count), columns: columns,
      values: values + [Double](repeating: 0, count: max(0, count - rows) * columns))
  }

  /// The share of the numbers that is largest; the rest is zero.
  func largest(_ share: Double) -> Factor {
    guard share < 1 else { return self }
    let count = Int(share * Double(values.count))
    var result = Factor(rows: rows, columns: columns)
    for place in values.indices.sorted(by: { abs(values[$0]) > abs(values[$1]) }).prefix(count) {
      result.values[place] = values[place]
    }
    return result
  }

  /// A random share of the numbers, larger by its inverse; the rest is zero.
  func dropped(_ share: Double, seed: UInt64) -> Factor {
    guard share < 1 else { return self }
    var generator = SplitMix64(seed: seed)
    return Factor(
      rows: rows, columns: columns,
      values: values.map { Double(generator.uniform(in: 0...1)) < share ? $0 / share : 0 })
  }
}
