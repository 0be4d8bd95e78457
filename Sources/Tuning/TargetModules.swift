import Architectures
import Tokenization
import Transformer

/// Which linear layers a method wraps.
public enum TargetModules: Sendable, Equatable {
  /// PEFT's choice for the model's family.
  case familyDefault
  /// Last parts of the names, as in `q_proj,v_proj`.
  case names([String])
  /// The same as an adapter's file says it: names that the model has not are passed over, as in PEFT.
  case namesInFile([String])
  /// Every linear layer but the vocabulary head.
  case allLinear
  /// A regular expression that must match a layer's whole name, as in PEFT.
  case pattern(String)

  /// - Parameter text: names separated by commas, `all-linear`, or a regular expression
  public init(_ text: String) {
    if text == "all-linear" {
      self = .allLinear
    } else if text.allSatisfy({ $0.isLetter || $0.isNumber || "_,.".contains($0) }) {
      self = .names(text.split(separator: ",").map(String.init))
    } else {
      self = .pattern(text)
    }
  }

  /// The layers of `model` that are meant.
  /// - Throws: `AdapterError` if a name that was typed matches nothing, or nothing does
  public func locations(in model: LanguageModel) throws -> [LinearLocation] {
    let all = model.linearLocations
    if self == .familyDefault { return try Self.names(model.description.family.defaultTargets).locations(in: model) }
    if case .names(let names) = self {
      for name in names where try !all.contains(where: Self.names([name]).matcher()) {
        throw AdapterError.noTargets(name, known: Self.shortNames(all))
      }
    }
    let chosen = try all.filter(matcher())
    if chosen.isEmpty { throw AdapterError.noTargets(description, known: Self.shortNames(all)) }
    return chosen
  }

  /// Whether a layer is meant; the family's default names none.
  func matcher() throws -> (LinearLocation) throws -> Bool {
    switch self {
    case .allLinear: return { _ in true }
    case .familyDefault: return { _ in false }
    case .names(let names), .namesInFile(let names):
      return { location in names.contains { location.name == $0 || location.name.hasSuffix(".\($0)") } }
    case .pattern(let pattern):
      do {
        let expression = try TextPattern(pattern)
        return { location in
          do { return try expression.matchesWhole(location.name) } catch {
            throw AdapterError.badPattern(pattern, reason: "\(error)")
          }
        }
      } catch {
        throw AdapterError.badPattern(pattern, reason: "\(error)")
      }
    }
  }

  /// Last parts of names, each once, in the order of computation.
  static func shortNames(_ locations: [LinearLocation]) -> [String] {
    var names: [String] = []
    for location in locations {
      let name = String(location.name.split(separator: ".").last ?? "")
      if !names.contains(name) { names.append(name) }
    }
    return names
  }

  public var description: String {
    switch self {
    case .familyDefault: "default"
    case .names(let names), .namesInFile(let names): names.joined(separator: ",")
    case .allLinear: "all-linear"
    case .pattern(let pattern): pattern
    }
  }
}

/// What can be wrong with an adapter.
public enum AdapterError: Error, CustomStringConvertible {
  case noTargets(String, known: [String])
  case badPattern(String, reason: String)
  case missingTensor(file: String, tensor: String)
  case unexpectedTensor(file: String, tensor: String, reason: String)
  case unsuitableModel(String)
  case wrongShape(file: String, tensor: String, found: [Int], expected: [Int])

  public var description: String {
    switch self {
    case .noTargets(let text, let known):
      "target modules: \(text) matches no linear layer of the model; "
        + "known are \(known.joined(separator: ", ")), or all-linear"
    case .badPattern(let pattern, let reason):
      "target modules: \(pattern): \(reason)"
    case .missingTensor(let file, let tensor):
      "\(file): tensor \(tensor) is missing; the adapter does not fit its adapter_config.json"
    case .unexpectedTensor(let file, let tensor, let reason):
      "\(file): tensor \(tensor): \(reason)"
    case .unsuitableModel(let reason): reason
    case .wrongShape(let file, let tensor, let found, let expected):
      "\(file): tensor \(tensor) has shape \(found), expected \(expected); was the adapter made for another model?"
    }
  }
}
