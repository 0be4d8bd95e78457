import Formats
import Foundation
import Transformer

/// Which linear layers LoRA wraps.
public enum TargetModules: Sendable, Equatable {
  /// Last parts of the names, as in `q_proj,v_proj`.
  case names([String])
  /// Every linear layer but the vocabulary head.
  case allLinear
  /// A regular expression that must match a layer's whole name, as in PEFT.
  case pattern(String)

  /// Reads `q_proj,v_proj`, `all-linear`, or a regular expression (anything with a character beyond names and commas).
  public init(_ text: String) {
    let names = text.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
    if text == "all-linear" {
      self = .allLinear
    } else if text.allSatisfy({ $0.isLetter || $0.isNumber || "_, ".contains($0) }) {
      self = .names(names)
    } else {
      self = .pattern(text)
    }
  }

  /// The layers of `model` that are meant.
  /// - Throws: `AdapterError.noTargets` when nothing matches or a name matches nothing.
  public func locations(in model: CausalLanguageModel) throws -> [LinearLocation] {
    let all = model.linearLocations
    let chosen: [LinearLocation]
    switch self {
    case .allLinear:
      chosen = all
    case .names(let names):
      for name in names where !all.contains(where: { $0.name == name || $0.name.hasSuffix(".\(name)") }) {
        throw AdapterError.noTargets(name)
      }
      chosen = all.filter { location in
        names.contains { location.name == $0 || location.name.hasSuffix(".\($0)") }
      }
    case .pattern(let pattern):
      let expression: NSRegularExpression
      do {
        expression = try NSRegularExpression(pattern: "^(?:\(pattern))$")
      } catch {
        throw AdapterError.badPattern(pattern, reason: "it is not a regular expression")
      }
      chosen = all.filter {
        expression.firstMatch(in: $0.name, range: NSRange($0.name.startIndex..., in: $0.name)) != nil
      }
    }
    if chosen.isEmpty { throw AdapterError.noTargets(description) }
    return chosen
  }

  public var description: String {
    switch self {
    case .names(let names): names.joined(separator: ",")
    case .allLinear: "all-linear"
    case .pattern(let pattern): pattern
    }
  }
}

/// The hyper-parameters of LoRA, with PEFT's meaning.
public struct LowRankConfiguration: Sendable, Equatable {
  public var rank: Int
  public var alpha: Double
  public var dropout: Double
  public var targetModules: TargetModules
  public var useRSLoRA: Bool

  public init(
    rank: Int = 8, alpha: Double = 16, dropout: Double = 0,
    targetModules: TargetModules = .names(["q_proj", "v_proj"]),
    useRSLoRA: Bool = false
  ) {
    self.rank = rank
    self.alpha = alpha
    self.dropout = dropout
    self.targetModules = targetModules
    self.useRSLoRA = useRSLoRA
  }

  /// `alpha / rank`, or `alpha / sqrt(rank)` with rsLoRA.
  public var scaling: Float { Float(useRSLoRA ? alpha / Double(rank).squareRoot() : alpha / Double(rank)) }
}

/// What can be wrong with an adapter.
public enum AdapterError: Error, CustomStringConvertible {
  case noTargets(String)
  case badPattern(String, reason: String)
  case missingTensor(file: String, tensor: String)
  case unexpectedTensor(file: String, tensor: String, reason: String)
  case wrongShape(file: String, tensor: String, found: [Int], expected: [Int])

  public var description: String {
    switch self {
    case .noTargets(let text):
      "target modules: \(text) matches no linear layer of the model; "
        + "known are \(LinearModule.allCases.map(\.rawValue).joined(separator: ", ")), or all-linear"
    case .badPattern(let pattern, let reason):
      "target modules: \(pattern): \(reason)"
    case .missingTensor(let file, let tensor):
      "\(file): tensor \(tensor) is missing; the adapter does not fit its adapter_config.json"
    case .unexpectedTensor(let file, let tensor, let reason):
      "\(file): tensor \(tensor): \(reason)"
    case .wrongShape(let file, let tensor, let found, let expected):
      "\(file): tensor \(tensor) has shape \(found), expected \(expected); was the adapter made for another model?"
    }
  }
}
