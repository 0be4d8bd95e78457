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
    let entries = zip(space.dimensions, words).map { Entry(option: $0.option, word: $1) }
    func word(_ name: String) -> String? {
      entries.first { $0.option == name }?.word ?? base[name]?.last
        ?? TrainingOptions.declarations.first { $0.name == name }?.fallback
    }
    let method = word("method").flatMap { MethodOptions.Method(rawValue: $0) }
    self.entries = try entries.compactMap { entry in
      if let method, !MethodOptions.takes(entry.option, method) { return nil }
      guard entry.option == "alpha", entry.word.hasSuffix("r") else { return entry }
      guard let factor = Double(entry.word.dropLast()), let rank = word("rank").flatMap({ Double($0) }) else {
        throw OptionError("--alpha \(entry.word): expected a number, or a multiple of the rank such as 2r")
      }
      let alpha = factor * rank
      return Entry(option: "alpha", word: alpha == alpha.rounded() ? String(Int(alpha)) : String(alpha))
    }
  }

  /// The options of a run of `train` with these settings.
  package func options(over base: [String: [String]]) -> [String: [String]] {
    var given = base
    for entry in entries {
      let takesNothing = TrainingOptions.declarations.first { $0.name == entry.option }?.placeholder == nil
      given[entry.option] = takesNothing ? (entry.word == "true" ? [] : nil) : [entry.word]
    }
    if let method = given["method"]?.last.flatMap({ MethodOptions.Method(rawValue: $0) }) {
      given = given.filter { MethodOptions.takes($0.key, method) }
    }
    return given
  }

  /// `rank 8, alpha 16`.
  public var text: String { entries.map { "\($0.option) \($0.word)" }.joined(separator: ", ") }
}
