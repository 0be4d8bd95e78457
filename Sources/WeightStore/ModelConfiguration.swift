import Formats
import Foundation
import Kernels

/// What `config.json` says about a model, checked.
public struct ModelConfiguration: Sendable, Equatable {
  public enum Architecture: String, Sendable, CaseIterable {
    case llama = "LlamaForCausalLM"
    case qwen2 = "Qwen2ForCausalLM"
    case mistral = "MistralForCausalLM"
  }

  public var architecture: Architecture
  public var hiddenSize: Int
  public var intermediateSize: Int
  public var layerCount: Int
  public var headCount: Int
  public var keyValueHeadCount: Int
  public var headSize: Int
  public var vocabularySize: Int
  public var rmsNormEpsilon: Float
  public var ropeTheta: Double
  public var ropeScaling: RopeScaling
  /// Whether the vocabulary head is the embedding.
  public var tiedEmbeddings: Bool
  /// Whether the query, key and value products have a bias.
  public var attentionBias: Bool
  /// Longest sequence that the model was made for.
  public var maximumPositions: Int
  public var bosTokenID: Int?
  public var eosTokenIDs: [Int]

  /// What is wrong in a `config.json`.
  public struct Invalid: Error, CustomStringConvertible {
    public let file: String
    public let reason: String
    public var description: String { "\(file): \(reason)" }
  }

  /// Reads `config.json` in `directory`.
  public static func load(directory: String) throws -> ModelConfiguration {
    let path = "\(directory)/config.json"
    return try ModelConfiguration(json: try JSONValue.parse(contentsOf: path), file: path)
  }

  /// - Parameter file: the name that errors carry
  public init(json: JSONValue, file: String) throws {
    func refuse(_ reason: String) -> Invalid { Invalid(file: file, reason: reason) }
    func integer(_ key: String, _ range: ClosedRange<Int>, default fallback: Int? = nil) throws -> Int {
      guard let value = json[key], value != .null else {
        if let fallback { return fallback }
        throw refuse("\(key) is missing")
      }
      guard let number = value.intValue, range.contains(number) else {
        throw refuse("\(key) is \(value.serialized()), expected a whole number in \(range)")
      }
      return number
    }
    let names = json["architectures"]?.arrayValue?.compactMap(\.stringValue) ?? []
    guard let architecture = names.lazy.compactMap(Architecture.init(rawValue:)).first else {
      let found = names.first ?? json["model_type"]?.stringValue ?? "none"
      throw refuse(
        "architecture \(found) is not supported; supported are "
          + Architecture.allCases.map(\.rawValue).joined(separator: ", "))
    }
    self.architecture = architecture
    func number(_ key: String, of object: JSONValue, in range: ClosedRange<Double>, default fallback: Double?) throws
      -> Double
    {
      guard let value = object[key], value != .null else {
        if let fallback { return fallback }
        throw refuse("\(key) of the rope scaling is missing")
      }
      guard let number = value.doubleValue, range.contains(number) else {
        throw refuse("\(key) is \(value.serialized()), expected a number in \(range)")
      }
      return number
    }
    hiddenSize = try integer("hidden_size", 32...65_536)
    intermediateSize = try integer("intermediate_size", 32...262_144)
    layerCount = try integer("num_hidden_layers", 1...512)
    headCount = try integer("num_attention_heads", 1...1024)
    keyValueHeadCount = try integer("num_key_value_heads", 1...1024, default: headCount)
    let hasHeadSize = json["head_dim"].map { $0 != .null } ?? false
    guard hasHeadSize || hiddenSize % headCount == 0 else {
      throw refuse("hidden_size \(hiddenSize) is not a multiple of num_attention_heads \(headCount)")
    }
    headSize = try integer("head_dim", 8...1024, default: hiddenSize / headCount)
    vocabularySize = try integer("vocab_size", 2...300_000)
    maximumPositions = try integer("max_position_embeddings", 1...100_000_000, default: 2048)
    guard hiddenSize % 32 == 0 else { throw refuse("hidden_size is \(hiddenSize), expected a multiple of 32") }
    guard intermediateSize % 32 == 0 else {
      throw refuse("intermediate_size is \(intermediateSize), expected a multiple of 32")
    }
    guard headCount % keyValueHeadCount == 0 else {
      throw refuse("\(headCount) attention heads cannot share \(keyValueHeadCount) key-value heads evenly")
    }
    guard headSize % 8 == 0, headCount * headSize % 32 == 0 else {
      throw refuse("head size \(headSize) with \(headCount) heads is not supported, expected a multiple of 8")
    }
    let activation = json["hidden_act"]?.stringValue ?? "silu"
    guard activation == "silu" || activation == "swish" else {
      throw refuse("hidden_act \(activation) is not supported, expected silu")
    }
    if json["mlp_bias"]?.boolValue == true { throw refuse("mlp_bias is not supported") }
    if architecture == .llama, json["attention_bias"]?.boolValue == true {
      throw refuse("attention_bias (with a bias in o_proj) is not supported for LlamaForCausalLM")
    }
    if json["use_sliding_window"]?.boolValue ?? (architecture == .mistral),
      let window = json["sliding_window"]?.intValue, window < maximumPositions
    {
      throw refuse("sliding_window of \(window) is not supported")
    }
    attentionBias = architecture == .qwen2
    tiedEmbeddings = json["tie_word_embeddings"]?.boolValue ?? false
    rmsNormEpsilon = Float(try number("rms_norm_eps", of: json, in: 1e-12...0.1, default: 1e-6))

    let rope = [json["rope_parameters"], json["rope_scaling"]].compactMap { $0 }.first { $0 != .null } ?? .null
    guard rope == .null || rope.objectValue != nil else {
      throw refuse("rope_parameters is \(rope.serialized()), expected an object")
    }
    let thetaRange = 1.0...1e12
    ropeTheta = try number(
      "rope_theta", of: rope, in: thetaRange,
      default: try number("rope_theta", of: json, in: thetaRange, default: 10_000))
    for part in [rope, json] where try number("partial_rotary_factor", of: part, in: 0...1, default: 1) != 1 {
      throw refuse("partial_rotary_factor below 1 is not supported")
    }
    switch rope["rope_type"]?.stringValue ?? rope["type"]?.stringValue ?? "default" {
    case "default": ropeScaling = .none
    case "linear": ropeScaling = .linear(factor: try number("factor", of: rope, in: 1...1e6, default: nil))
    case "llama3":
      let low = try number("low_freq_factor", of: rope, in: 1e-3...1e6, default: nil)
      let high = try number("high_freq_factor", of: rope, in: 1e-3...1e6, default: nil)
      guard low < high else { throw refuse("low_freq_factor \(low) is not below high_freq_factor \(high)") }
      ropeScaling = .llama3(
        factor: try number("factor", of: rope, in: 1...1e6, default: nil), lowFrequencyFactor: low,
        highFrequencyFactor: high,
        originalMaximumPositions: Int(
          try number("original_max_position_embeddings", of: rope, in: 1...1e8, default: nil)))
    case let other: throw refuse("rope type \(other) is not supported; supported are default, linear, llama3")
    }
    func ids(_ key: String) -> [Int] {
      json[key]?.intValue.map { [$0] } ?? json[key]?.arrayValue?.compactMap(\.intValue) ?? []
    }
    bosTokenID = ids("bos_token_id").first
    eosTokenIDs = ids("eos_token_id")
  }
}
