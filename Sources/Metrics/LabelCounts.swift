/// Precision, recall and their harmonic mean of one label, or of some together. Where a figure divides by nothing it is 0, as in
/// scikit-learn and seqeval.
public struct LabelScore: Sendable, Equatable {
  public var precision: Double
  public var recall: Double
  public var f1: Double
  /// How often the label is true.
  public var support: Int

  public init(precision: Double, recall: Double, f1: Double, support: Int) {
    self.precision = precision
    self.recall = recall
    self.f1 = f1
    self.support = support
  }
}

/// How often a label was true, was said, and both.
public struct LabelCounts: Sendable, Equatable {
  public var hits = 0
  public var said = 0
  public var wanted = 0

  public init(hits: Int = 0, said: Int = 0, wanted: Int = 0) {
    self.hits = hits
    self.said = said
    self.wanted = wanted
  }

  public static func + (a: Self, b: Self) -> Self {
    Self(hits: a.hits + b.hits, said: a.said + b.said, wanted: a.wanted + b.wanted)
  }

  public var score: LabelScore {
    func ratio(_ a: Double, _ b: Double) -> Double { b > 0 ? a / b : 0 }
    let (precision, recall) = (ratio(Double(hits), Double(said)), ratio(Double(hits), Double(wanted)))
    return LabelScore(
      precision: precision, recall: recall, f1: ratio(2 * precision * recall, precision + recall), support: wanted)
  }
}

/// Scores by name, and what they come to together.
public struct ScoreTable: Sendable, Equatable {
  public let names: [String]
  public let scores: [LabelScore]
  /// Of all counts together.
  public let micro: LabelScore
  /// The mean over labels.
  public let macro: LabelScore
  /// The mean over labels, each by its support.
  public let weighted: LabelScore

  /// - Parameters:
  ///   - counts: by name
  ///   - keepsAbsent: whether those that are neither true nor said count, as scikit-learn has it where labels hold together
  init(_ counts: [(name: String, counts: LabelCounts)], keepsAbsent: Bool = false) {
    let present = counts.filter { keepsAbsent || $0.counts.said > 0 || $0.counts.wanted > 0 }
    names = present.map(\.name)
    let scores = present.map(\.counts.score)
    self.scores = scores
    micro = present.reduce(LabelCounts()) { $0 + $1.counts }.score
    macro = Self.mean(scores) { _ in 1 }
    weighted = Self.mean(scores) { Double($0.support) }
  }

  private static func mean(_ scores: [LabelScore], weight: (LabelScore) -> Double) -> LabelScore {
    let all = scores.reduce(0.0) { $0 + weight($1) }
    func mean(_ part: (LabelScore) -> Double) -> Double {
      all > 0 ? scores.reduce(0.0) { $0 + weight($1) * part($1) } / all : 0
    }
    return LabelScore(
      precision: mean(\.precision), recall: mean(\.recall), f1: mean(\.f1),
      support: scores.reduce(0) { $0 + $1.support })
  }
}
