/// One option of a command: the flag without its dashes, what it takes, what it is without being given, and what it does.
public struct OptionDeclaration: Sendable {
  public let name: String
  /// Other spellings that are taken.
  public let aliases: [String]
  /// What stands for the value in the help; `nil` for a switch.
  public let placeholder: String?
  /// The value where none is given; the only place that says it.
  public let fallback: String?
  public let help: String
  /// Whether several values may follow.
  public let isList: Bool
  /// Whether a resumed run must have the value that the first one had.
  public let identifies: Bool

  public init(
    _ name: String, _ placeholder: String?, default fallback: String? = nil, aliases: [String] = [],
    isList: Bool = false, identifies: Bool = false, _ help: String
  ) {
    self.name = name
    self.aliases = aliases
    self.placeholder = placeholder
    self.fallback = fallback
    self.help = help
    self.isList = isList
    self.identifies = identifies
  }

  /// Whether the option is called so.
  public func isCalled(_ name: String) -> Bool { self.name == name || aliases.contains(name) }
}

/// A value that an option does not take.
public struct OptionError: Error, CustomStringConvertible {
  public let description: String
  public init(_ description: String) { self.description = description }
}
