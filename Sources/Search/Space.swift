import Formats
import Options
import Randomness
import Training

/// An option of training that a search varies, and what it may be.
public struct Dimension: Sendable, Equatable {
  /// What an option may be.
  public enum Values: Sendable, Equatable {
    /// The words of the flag, one after the other.
    case choices([String])
    /// Numbers from `low` to `high`, evenly or by their logarithms; whole ones, if both ends are.
    case range(low: Double, high: Double, isLogarithmic: Bool, isWhole: Bool)
  }

  /// Name of the option, without dashes.
  public let option: String
  public let values: Values
  /// Where the option takes a list of numbers: the one that is in it or not. Others have dimensions of their own.
  public let member: Int?

  public init(_ option: String, _ values: Values) {
    self.option = option
    self.values = values
    member = nil
  }

  /// Whether a number is in the list that an option takes.
  public init(_ option: String, member: Int) {
    self.option = option
    values = .choices(["out", Self.isIn])
    self.member = member
  }

  /// What the word of a member is that is in the list.
  static let isIn = "in"

  /// Numbers as an option takes them: `0-3,7`, or `none`.
  static func list(_ numbers: [Int]) -> String {
    var ranges: [ClosedRange<Int>] = []
    for number in numbers.sorted() {
      if let last = ranges.last, last.upperBound + 1 == number {
        ranges[ranges.count - 1] = last.lowerBound...number
      } else {
        ranges.append(number...number)
      }
    }
    guard !ranges.isEmpty else { return "none" }
    return ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
      .joined(separator: ",")
  }

  /// A dimension as a flag writes it: words between commas, or `LOW..HIGH`, with `:log` behind it for logarithms. Options
  /// whose values have commas themselves are given several times.
  ///
  /// - Returns: `nil` where there is only one value
  package init?(_ option: OptionDeclaration, words: [String]) throws {
    self.option = option.name
    member = nil
    if words.count == 1, let range = try Self.range(words[0], option: option.name) {
      values = range
      return
    }
    let hasCommas = option.placeholder.map { $0.contains(",") || $0 == "NAMES" } ?? false
    let choices = hasCommas ? words : words.flatMap { $0.split(separator: ",").map(String.init) }
    guard choices.count > 1 else { return nil }
    values = .choices(Self.distinct(choices))
  }

  private static func distinct(_ words: [String]) -> [String] {
    var seen: Set<String> = []
    return words.filter { seen.insert($0).inserted }
  }

  /// Of a range's ends: every whole number up to it is one of `Double`'s.
  private static let most = 1e15

  private static func range(_ word: String, option: String) throws -> Values? {
    guard let dots = word.firstRange(of: "..") else { return nil }
    let isLogarithmic = word.hasSuffix(":log")
    let (left, right) = (word[..<dots.lowerBound], word[dots.upperBound...].dropLast(isLogarithmic ? 4 : 0))
    guard let low = Double(left), let high = Double(right), low < high, abs(low) <= most, abs(high) <= most,
      !isLogarithmic || low > 0
    else {
      throw OptionError("--\(option) \(word): expected two ascending numbers, such as 1e-5..1e-3 or 1e-5..1e-3:log")
    }
    return .range(
      low: low, high: high, isLogarithmic: isLogarithmic, isWhole: Int(left) != nil && Int(right) != nil)
  }

  /// A dimension of a space file: a list, or an object with `low`, `high` and perhaps `log`.
  package init(_ option: OptionDeclaration, json: JSONValue, file: String) throws {
    self.option = option.name
    member = nil
    if let list = json.arrayValue, !list.isEmpty {
      values = .choices(
        Self.distinct(try list.map { try Self.word($0, option: option, file: file) }))
    } else if let low = json["low"]?.doubleValue, let high = json["high"]?.doubleValue, low < high,
      abs(low) <= Self.most, abs(high) <= Self.most
    {
      let isLogarithmic = json["log"]?.boolValue ?? false
      guard !isLogarithmic || low > 0 else {
        throw OptionError("\(file): \(option.name): a logarithmic range begins above 0")
      }
      values = .range(
        low: low, high: high, isLogarithmic: isLogarithmic,
        isWhole: json["low"]?.intValue != nil && json["high"]?.intValue != nil)
    } else {
      throw OptionError(
        "\(file): \(option.name): expected a list of values, or {\"low\": X, \"high\": X, \"log\": true}")
    }
  }

  private static func word(_ json: JSONValue, option: OptionDeclaration, file: String) throws -> String {
    switch json {
    case .string(let text): return text
    case .bool(let isOn) where option.placeholder == nil: return isOn ? "true" : "false"
    case .integer, .number: return json.intValue.map { String($0) } ?? json.serialized()
    case .array(let list) where option.name == "target-modules":
      return list.compactMap(\.stringValue).joined(separator: ",")
    default: throw OptionError("\(file): \(option.name) does not take \(json.serialized())")
    }
  }

  /// The dimensions of an option in a space file: one, or for `{"any_of": [0, 1, 2]}` one for each number.
  static func some(_ option: OptionDeclaration, json: JSONValue, file: String) throws -> [Dimension] {
    guard let any = json["any_of"] else { return [try Dimension(option, json: json, file: file)] }
    let numbers = any.arrayValue?.compactMap(\.intValue) ?? []
    guard option.name == listOption, numbers.count == any.arrayValue?.count, Set(numbers).count == numbers.count,
      !numbers.isEmpty, numbers.allSatisfy({ (0..<1 << 16).contains($0) })
    else {
      throw OptionError("\(file): \(option.name): any_of is for \(listOption), and lists numbers of layers")
    }
    return numbers.map { Dimension(option.name, member: $0) }
  }

  /// The option that takes any of some numbers.
  static let listOption = "adapter-off"

  /// A value drawn evenly.
  package func draw(_ generator: inout SplitMix64) -> String {
    switch values {
    case .choices(let words): return words[Int(generator.next() % UInt64(words.count))]
    case .range(let low, let high, let isLogarithmic, let isWhole):
      let unit = Double(generator.next() >> 11) / Double(1 << 53)
      if isWhole, !isLogarithmic {
        return String(min(Int(high), Int(low) + Int(unit * (high - low + 1))))
      }
      return Self.text(Scale(isLogarithmic: isLogarithmic).value(low, high, unit), isWhole: isWhole)
    }
  }

  /// A number as a word of four digits: enough for a setting, and short in a table.
  package static func text(_ value: Double, isWhole: Bool) -> String {
    if isWhole { return String(Int(value.rounded())) }
    var factor = 1.0
    while abs(value) * factor < 1000, factor < 1e15 { factor *= 10 }
    return String((value * factor).rounded() / factor)
  }
}

/// What a search tries: options with values.
public struct Space: Sendable, Equatable {
  public let dimensions: [Dimension]

  public init(_ dimensions: [Dimension]) { self.dimensions = dimensions }

  /// Options that are of the search as a whole: where to look, what counts, where to write.
  package static let fixed: Set<String> = [
    "model", "data", "eval-data", "eval-split", "data-share", "epochs", "max-steps", "output", "resume", "force",
    "json",
    "dump-gradients", "max-mem", "plan", "threads", "metric-for-best-model", "greater-is-better", "log-every",
    "save-steps",
    "save-minutes", "save-total-limit", "on-disk-full", "load-best-model-at-end",
  ]

  /// The dimensions among the given options, and in a file; a file's count before flags of the same name.
  ///
  /// - Parameters:
  ///   - file: or the name of a known space, before which flags count
  ///   - layers: of the model
  /// - Returns: the space, and the options that have one value
  public static func split(
    _ given: [String: [String]], file: String?, layers: () throws -> Int = { 0 }
  ) throws -> (space: Space, base: [String: [String]]) {
    var dimensions: [Dimension] = []
    var base = given
    if file == AutoPEFTSpace.name {
      base.merge(try AutoPEFTSpace.base(given)) { mine, _ in mine }
      dimensions = AutoPEFTSpace.dimensions(layers: try layers()).filter { given[$0.option] == nil }
    } else if let file {
      guard let object = try JSONValue.parse(contentsOf: file).objectValue else {
        throw OptionError("\(file): expected an object of options with their values")
      }
      for (key, value) in object.entries {
        let name = String(key.map { $0 == "_" ? "-" : $0 })
        guard let option = TrainingOptions.declarations.first(where: { $0.isCalled(name) }),
          !fixed.contains(option.name)
        else { throw OptionError("\(file): \(key) is no option that can be searched") }
        dimensions += try Dimension.some(option, json: value, file: file)
        base[option.name] = nil
      }
    }
    for option in TrainingOptions.declarations where !fixed.contains(option.name) {
      guard let words = base[option.name], let dimension = try Dimension(option, words: words) else { continue }
      dimensions.append(dimension)
      base[option.name] = nil
    }
    guard !dimensions.isEmpty else {
      throw OptionError("nothing to search: give an option several values, such as --rank 4,8,16, or --space FILE")
    }
    return (Space(dimensions), base)
  }

  /// All settings in the order of a counter whose last digit turns fastest; `nil` where a range makes them endless.
  package func grid() -> [[String]]? {
    var all: [[String]] = [[]]
    for dimension in dimensions {
      guard case .choices(let words) = dimension.values else { return nil }
      all = all.flatMap { head in words.map { head + [$0] } }
      guard all.count <= 100_000 else { return nil }
    }
    return all
  }

  package func draw(_ generator: inout SplitMix64) -> [String] { dimensions.map { $0.draw(&generator) } }

  /// In a line, for people and to know it again.
  public var text: String {
    dimensions.enumerated().compactMap { place, dimension -> String? in
      if dimension.member != nil {
        // Said once for all members.
        guard place == dimensions.firstIndex(where: { $0.option == dimension.option }) else { return nil }
        let members = dimensions.filter { $0.option == dimension.option }.compactMap(\.member)
        return "\(dimension.option) any of \(Dimension.list(members))"
      }
      return switch dimension.values {
      case .choices(let words): "\(dimension.option) {\(words.joined(separator: " | "))}"
      case .range(let low, let high, let isLogarithmic, _):
        "\(dimension.option) \(low)..\(high)\(isLogarithmic ? ":log" : "")"
      }
    }.joined(separator: "; ")
  }
}
