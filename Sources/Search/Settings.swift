import Options
import Training

/// One point of a space: what the options are there. Options that say nothing for the method are left out.
public struct Settings: Sendable, Hashable {
  /// Name and word, in the order of the space.
  public struct Entry: Sendable, Hashable {
    public let option: String
    public let word: String

    public init(option: String, word: String) {
      self.option = option
      self.word = word
    }
  }

  public let entries: [Entry]

  public init(_ entries: [Entry]) { self.entries = entries }

  /// - Parameters:
  ///   - words: by the dimensions of `space`; `2r` for alpha is twice the rank
  ///   - base: the options that have one value
  package init(_ words: [String], of space: Space, base: [String: [String]]) throws {
    var entries: [Entry] = []
    for (dimension, word) in zip(space.dimensions, words) {
      guard dimension.member != nil else {
        entries.append(Entry(option: dimension.option, word: word))
        continue
      }
      // The members of a list stand together, as the one word that the option takes.
      if entries.contains(where: { $0.option == dimension.option }) { continue }
      let members = zip(space.dimensions, words).compactMap { other, word in
        other.option == dimension.option && word == Dimension.isIn ? other.member : nil
      }
      entries.append(Entry(option: dimension.option, word: Dimension.list(members)))
    }
    let word = Self.word(entries, over: base)
    self.entries = try entries.compactMap { entry in
      if !MethodOptions.takes(entry.option, beside: word) { return nil }
      guard entry.option == "alpha", entry.word.hasSuffix("r") else { return entry }
      guard let factor = Double(entry.word.dropLast()), factor.isFinite, let rank = word("rank").flatMap(Double.init)
      else {
        throw OptionError("--alpha \(entry.word): expected a number, or a multiple of the rank such as 2r")
      }
      let alpha = factor * rank
      return Entry(option: "alpha", word: Int(exactly: alpha).map { String($0) } ?? String(alpha))
    }
  }

  /// The value of an option, or its fallback.
  private static func word(_ entries: [Entry], over base: [String: [String]]) -> (String) -> String? {
    { name in
      entries.first { $0.option == name }?.word ?? base[name]?.last
        ?? TrainingOptions.declarations.first { $0.name == name }?.fallback
    }
  }

  /// Whether they leave out everything that could be trained.
  package func trainsNothing(over base: [String: [String]]) -> Bool {
    MethodOptions.trainsNothing(Self.word(entries, over: base))
  }

  /// The options of a run of `train` with these settings.
  package func options(over base: [String: [String]]) -> [String: [String]] {
    var given = base
    for entry in entries {
      let takesNothing = TrainingOptions.declarations.first { $0.name == entry.option }?.placeholder == nil
      given[entry.option] = takesNothing ? (entry.word == "true" ? [] : nil) : [entry.word]
    }
    guard given["method"] != nil else { return given }
    let word = Self.word([], over: given)
    return given.filter { MethodOptions.takes($0.key, beside: word) }
  }

  /// `rank 8, alpha 16`.
  public var text: String { entries.map { "\($0.option) \($0.word)" }.joined(separator: ", ") }
}
