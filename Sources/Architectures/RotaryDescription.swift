import Formats
import FoundationEssentials
import Glibc

/// How queries and keys turn with their position: the first `2 * frequencies.count` elements of each head, in halves.
///
/// Source: Su et al. 2021, arXiv 2104.09864; the ways to stretch it as transformers defines them
/// (`modeling_rope_utils`).
public struct RotaryDescription: Sendable, Equatable {
  /// Angle per position of each pair.
  public var frequencies: [Double]
  /// Cosines and sines are multiplied by it.
  public var factor: Double = 1
  /// What samples longer than some length turn by instead.
  public var long: (frequencies: [Double], beyond: Int)?

  public static func == (a: Self, b: Self) -> Bool {
    a.frequencies == b.frequencies && a.factor == b.factor && a.long?.frequencies == b.long?.frequencies
      && a.long?.beyond == b.long?.beyond
  }

  /// `theta^(-2i / dimension)`
  static func plain(theta: Double, dimension: Int) -> [Double] {
    (0..<dimension / 2).map { 1 / pow(theta, Double(2 * $0) / Double(dimension)) }
  }
}

extension ConfigurationReader {
  /// The parameters of rotation: `rope_scaling` of older files wins where both are there, as in transformers.
  ///
  /// - Parameter layerType: of models whose layers turn differently
  func rotaryParameters(layerType: String? = nil) throws -> JSONValue {
    let found = self["rope_scaling"] ?? self["rope_parameters"] ?? .object(JSONObject())
    guard found.objectValue != nil else {
      throw refuse("rope_parameters is \(found.serialized()), expected an object")
    }
    if let layerType, let part = found[layerType] {
      guard part.objectValue != nil else { throw refuse("rope_parameters of \(layerType) is no object") }
      return part
    }
    return found
  }

  /// - Parameters:
  ///   - rope: parameters
  ///   - headSize: elements of a head
  ///   - part: share of a head that turns
  ///   - theta: where the parameters do not say
  ///   - originalPositions: positions before stretching, where nothing says; `maximumPositions` if `nil`
  func rotary(
    _ rope: JSONValue, headSize: Int, part: Double = 1, theta fallback: Double, maximumPositions: Int,
    originalPositions: Int? = nil
  ) throws -> RotaryDescription {
    let parameters = ConfigurationReader(json: rope, file: file)
    let theta = try parameters.number("rope_theta", 1...1e12, default: fallback)
    let dimension = Int(Double(headSize) * part) / 2 * 2
    guard dimension >= 2 else {
      throw refuse("a partial_rotary_factor of \(part) leaves nothing of heads of \(headSize)")
    }
    let base = RotaryDescription.plain(theta: theta, dimension: dimension)
    func factor() throws -> Double { try parameters.number("factor", 1...1e6) }
    func original() throws -> Int {
      if self["original_max_position_embeddings"] != nil {
        return try integer("original_max_position_embeddings", 1...100_000_000)
      }
      return try parameters.integer(
        "original_max_position_embeddings", 1...100_000_000, default: originalPositions ?? maximumPositions)
    }
    let type = rope["rope_type"]?.stringValue ?? rope["type"]?.stringValue ?? "default"
    switch type {
    case "default": return RotaryDescription(frequencies: base)
    case "linear":
      let factor = try factor()
      return RotaryDescription(frequencies: base.map { $0 / factor })
    case "dynamic":
      // The base grows with texts longer than the model was made for, which are not taken.
      _ = try factor()
      return RotaryDescription(frequencies: base)
    case "llama3":
      let low = try parameters.number("low_freq_factor", 1e-3...1e6)
      let high = try parameters.number("high_freq_factor", 1e-3...1e6)
      guard low < high else { throw refuse("low_freq_factor \(low) is not below high_freq_factor \(high)") }
      return RotaryDescription(
        frequencies: Self.llama3(base, factor: try factor(), low: low, high: high, original: Double(try original())))
    case "yarn", "longrope", "su":
      let original = try original()
      let factor =
        parameters["factor"] == nil
        ? Double(maximumPositions) / Double(original) : try parameters.number("factor", 1e-3...1e6)
      if type == "yarn" {
        return try yarn(parameters, base, theta: theta, dimension: dimension, factor: factor, original: original)
      }
      return try longRoPE(parameters, base, factor: factor, original: original)
    default:
      throw refuse("rope type \(type) is not supported; supported are default, linear, dynamic, yarn, llama3, longrope")
    }
  }

  private static func llama3(
    _ base: [Double], factor: Double, low: Double, high: Double, original: Double
  ) -> [Double] {
    base.map { frequency in
      let wavelength = 2 * Double.pi / frequency
      if wavelength < original / high { return frequency }
      if wavelength > original / low { return frequency / factor }
      let smooth = (original / wavelength - low) / (high - low)
      return (1 - smooth) * frequency / factor + smooth * frequency
    }
  }

  /// Source: Peng et al. 2023, arXiv 2309.00071.
  private func yarn(
    _ parameters: ConfigurationReader, _ base: [Double], theta: Double, dimension: Int, factor: Double, original: Int
  ) throws -> RotaryDescription {
    func magnitude(_ scale: Double) -> Double { factor <= 1 ? 1 : 0.1 * scale * log(factor) + 1 }
    let scale = try parameters.number("mscale", 0...1e3, default: 0)
    let allScale = try parameters.number("mscale_all_dim", 0...1e3, default: 0)
    let attention =
      parameters["attention_factor"] != nil
      ? try parameters.number("attention_factor", 1e-6...1e6)
      : scale > 0 && allScale > 0 ? magnitude(scale) / magnitude(allScale) : magnitude(1)
    // The pair that makes so many turns over the original length.
    func pair(turns: Double) -> Double {
      Double(dimension) * log(Double(original) / (turns * 2 * Double.pi)) / (2 * log(theta))
    }
    var low = pair(turns: try parameters.number("beta_fast", 1e-6...1e6, default: 32))
    var high = pair(turns: try parameters.number("beta_slow", 1e-6...1e6, default: 1))
    if try parameters.flag("truncate", default: true) { (low, high) = (low.rounded(.down), high.rounded(.up)) }
    low = max(low, 0)
    high = min(high, Double(dimension - 1))
    if low == high { high += 0.001 }
    let frequencies = base.enumerated().map { index, frequency in
      let ramp = min(max((Double(index) - low) / (high - low), 0), 1)
      return frequency * (1 - ramp) + frequency / factor * ramp
    }
    return RotaryDescription(frequencies: frequencies, factor: attention)
  }

  /// Source: Ding et al. 2024, arXiv 2402.13753.
  private func longRoPE(
    _ parameters: ConfigurationReader, _ base: [Double], factor: Double, original: Int
  ) throws -> RotaryDescription {
    func stretched(_ key: String) throws -> [Double] {
      let factors = parameters[key]?.arrayValue?.compactMap(\.doubleValue) ?? []
      guard factors.count == base.count, factors.allSatisfy({ $0 > 0 && $0.isFinite }) else {
        throw refuse("\(key) does not have \(base.count) positive numbers")
      }
      return zip(base, factors).map { $0 / $1 }
    }
    let attention =
      parameters["attention_factor"] != nil
      ? try parameters.number("attention_factor", 1e-6...1e6)
      : factor <= 1 ? 1 : (1 + log(factor) / log(Double(original))).squareRoot()
    return RotaryDescription(
      frequencies: try stretched("short_factor"), factor: attention, long: (try stretched("long_factor"), original))
  }
}
