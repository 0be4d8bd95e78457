import Formats
import Tokenization
import Transformer

/// Which of the targets of a method remain: some may be left out by name, and layers by number.
public struct TargetSelection: Sendable, Equatable {
  /// Layers that are left out although they are targets.
  public var excluded: TargetModules?
  /// Numbers of the transformer's layers whose targets count, from 0; `nil` for all.
  public var layers: [Int]?
  /// Names of the lists that `layers` counts in, as regular expressions; any where there are none.
  public var layersPattern: [String]

  public init(excluded: TargetModules? = nil, layers: [Int]? = nil, layersPattern: [String] = []) {
    self.excluded = excluded
    self.layers = layers
    self.layersPattern = layersPattern
  }

  /// The layers of `model` that `targets` means and that are not left out.
  /// - Throws: `AdapterError` if none remains
  public func locations(of targets: TargetModules, in model: LanguageModel) throws -> [LinearLocation] {
    if layers != nil, case .pattern = targets {
      throw AdapterError.badPattern(
        targets.description, reason: "layers are numbered within a pattern, or beside names, not both")
    }
    let isExcluded = try excluded?.matcher()
    let chosen = try targets.locations(in: model).filter { location in
      if let isExcluded, try isExcluded(location) { return false }
      guard let layers else { return true }
      return try layerNumber(location.name).map(layers.contains) ?? false
    }
    guard !chosen.isEmpty else {
      throw AdapterError.noTargets(
        "\(targets.description) without what is excluded", known: TargetModules.shortNames(model.linearLocations))
    }
    return chosen
  }

  /// The first number in a name that stands behind the name of a list and before something else.
  private func layerNumber(_ name: String) throws -> Int? {
    let parts = name.split(separator: ".")
    for place in parts.indices.dropLast() {
      guard let number = Int(parts[place]) else { continue }
      let front = parts[..<place].joined(separator: ".")
      if layersPattern.isEmpty {
        if place >= 2 { return number }
      } else if try layersPattern.contains(where: { try NamePattern($0).matches(front) }) {
        return number
      }
    }
    return nil
  }
}

/// A regular expression for the end of a name, from a point on or whole, as PEFT's `rank_pattern` has them.
struct NamePattern {
  private let source: String
  private let expression: TextPattern

  init(_ source: String) throws {
    self.source = source
    do { expression = try TextPattern("(.*\\.)?(\(source))") } catch {
      throw AdapterError.badPattern(source, reason: "\(error)")
    }
  }

  func matches(_ name: String) throws -> Bool {
    do { return try expression.matchesWhole(name) } catch {
      throw AdapterError.badPattern(source, reason: "\(error)")
    }
  }
}

extension [PEFTPattern<Int>] {
  /// The value of the first pattern that fits `name`.
  func value(for name: String) throws -> Int? { try first { try NamePattern($0.pattern).matches(name) }?.value }
}

extension [PEFTPattern<Double>] {
  func value(for name: String) throws -> Double? { try first { try NamePattern($0.pattern).matches(name) }?.value }
}

extension TargetModules {
  init(_ modules: PEFTModules) {
    self =
      switch modules {
      case .names(let names): .namesInFile(names)
      case .pattern(let pattern): .pattern(pattern)
      case .allLinear: .allLinear
      }
  }

  /// As files name them: what is chosen by a rule is written out.
  func modules(wrapped: [LinearLocation]) -> PEFTModules {
    switch self {
    case .names(let names), .namesInFile(let names): .names(names.sorted())
    case .allLinear, .familyDefault: .names(Self.shortNames(wrapped).sorted())
    case .pattern(let pattern): .pattern(pattern)
    }
  }
}
