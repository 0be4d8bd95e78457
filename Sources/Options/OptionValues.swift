import Memory

/// The words that a command was given, by option, with the declarations that say what the others are.
public struct OptionValues: Sendable {
  /// By name; switches have an empty list.
  public private(set) var given: [String: [String]]
  public let declarations: [OptionDeclaration]

  public init(_ given: [String: [String]], _ declarations: [OptionDeclaration]) {
    self.given = given
    self.declarations = declarations
  }

  private func declaration(_ name: String) -> OptionDeclaration {
    guard let found = declarations.first(where: { $0.name == name }) else {
      preconditionFailure("option \(name) is declared")
    }
    return found
  }

  /// The value, or the fallback of its declaration; `nil` if there is neither.
  public func text(_ name: String) -> String? { given[name]?.last ?? declaration(name).fallback }

  /// The value that a command cannot do without.
  public func required(_ name: String) throws -> String {
    guard let value = text(name) else { throw OptionError("--\(name) is needed") }
    return value
  }

  /// Whether a switch is on.
  public func flag(_ name: String) -> Bool { given[name] != nil }

  /// Whether the option was given, whatever its value.
  public func isGiven(_ name: String) -> Bool { given[name] != nil }

  public func list(_ name: String) -> [String] { given[name] ?? [] }

  /// A number, or `nil` where none is given and the declaration has no fallback.
  public func optionalNumber<T: LosslessStringConvertible & Comparable>(
    _ name: String, in range: ClosedRange<T>
  ) throws -> T? {
    guard let text = text(name) else { return nil }
    guard let value = T(text), range.contains(value) else {
      throw OptionError("--\(name) \(text): expected a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }

  /// A number that the declaration has a fallback for.
  public func number<T: LosslessStringConvertible & Comparable>(_ name: String, in range: ClosedRange<T>) throws -> T {
    guard let value = try optionalNumber(name, in: range) else { throw OptionError("--\(name) is needed") }
    return value
  }

  /// One of some words.
  public func optionalChoice<T: RawRepresentable & CaseIterable>(_ name: String, _ type: T.Type) throws -> T?
  where T.RawValue == String {
    guard let text = text(name) else { return nil }
    guard let value = T(rawValue: text) else {
      throw OptionError("--\(name) \(text): expected \(T.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    return value
  }

  /// One of some words, which the declaration has a fallback for.
  public func choice<T: RawRepresentable & CaseIterable>(_ name: String, _ type: T.Type) throws -> T
  where T.RawValue == String {
    guard let value = try optionalChoice(name, type) else { throw OptionError("--\(name) is needed") }
    return value
  }

  /// A size in bytes, such as `512M`.
  public func size(_ name: String) throws -> Int? {
    guard let text = text(name) else { return nil }
    guard let bytes = ByteCount.parse(text) else {
      throw OptionError("--\(name) \(text): expected a size such as 512M or 4G")
    }
    if bytes < 1 << 20, text.allSatisfy(\.isNumber) {
      throw OptionError("--\(name) \(text) means \(text) bytes; did you mean \(text)M?")
    }
    return bytes
  }

  /// Threads as all commands count them.
  public func threads() throws -> Int? { try optionalNumber("threads", in: 1...256) }

  /// Sets what was not given.
  public mutating func addDefaults(_ more: [String: [String]]) { given.merge(more) { mine, _ in mine } }

  /// Name and value of every option that a resumed run must share with the first; numbers as they are, however they are
  /// spelled.
  public var identity: [(name: String, value: String)] {
    declarations.filter(\.identifies).map { option in
      guard option.placeholder != nil else { return (option.name, flag(option.name) ? "true" : "false") }
      let words = given[option.name] ?? option.fallback.map { [$0] } ?? []
      return (option.name, words.map { word in Double(word).map { "\($0)" } ?? word }.joined(separator: " "))
    }
  }
}
