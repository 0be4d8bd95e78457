import Formats
import Glibc

extension GGUFMetadata {
  /// `rope_parameters` of a configuration: base, part of a head that turns, and how it is stretched.
  ///
  /// - Parameter isPartial: whether a part of each head may turn
  func rotary(isPartial: Bool) throws -> JSONObject {
    let theta = try number("rope.freq_base", default: 10_000)
    var rope = JSONObject([("rope_type", .string("default")), ("rope_theta", .number(theta))])
    let size = try headSize()
    let turned = try integer("rope.dimension_count", default: size)
    if isPartial {
      guard turned >= 2, turned <= size, turned % 2 == 0 else {
        throw refuse(
          "metadata \(architecture).rope.dimension_count is \(turned), expected an even number up to \(size)")
      }
      rope["partial_rotary_factor"] = .number(Self.share(turned, of: size))
    } else if turned != size {
      throw refuse("metadata \(architecture).rope.dimension_count is \(turned), expected the head size \(size)")
    }
    if let factors = file.tensor("rope_freqs.weight") {
      return try divided(rope, by: try vector(factors), theta: theta)
    }
    if let short = file.tensor("rope_factors_short.weight"), let long = file.tensor("rope_factors_long.weight") {
      return try stretched(rope, short: try vector(short), long: try vector(long))
    }
    // Without a type a factor is linear; `scale_linear` is the key of files from before there were types.
    let factor = try number("rope.scaling.factor", default: try number("rope.scale_linear", default: 1))
    switch self["rope.scaling.type"]?.stringValue ?? "linear" {
    case "none": break
    case "linear" where factor == 1 || factor == 0: break
    case "linear":
      rope["rope_type"] = .string("linear")
      rope["factor"] = .number(factor)
    case "yarn": try addYarn(to: &rope, factor: factor)
    case let type: throw refuse("rope type \(type) is not supported; supported are none, linear, yarn, longrope")
    }
    return rope
  }

  /// The share of `size` that comes back as `turned` when it is multiplied and cut.
  private static func share(_ turned: Int, of size: Int) -> Double {
    let share = Double(turned) / Double(size)
    return Int(share * Double(size)) == turned ? share : share.nextUp
  }

  /// Positions before stretching.
  func originalPositions() throws -> Int {
    try integer("rope.scaling.original_context_length", default: try integer("context_length"))
  }

  private func addYarn(to rope: inout JSONObject, factor: Double) throws {
    rope["rope_type"] = .string("yarn")
    rope["factor"] = .number(factor)
    rope["original_max_position_embeddings"] = .integer(try originalPositions())
    for (key, name) in [("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")]
    where self["rope.scaling.\(name)"] != nil {
      rope[key] = .number(try number("rope.scaling.\(name)"))
    }
    let plain = factor <= 1 ? 1 : 0.1 * log(factor) + 1
    let attention =
      try number("rope.scaling.yarn_attn_factor", default: plain) * number("rope.scaling.attn_factor", default: 1)
    if abs(attention - plain) > 1e-6 * plain { rope["attention_factor"] = .number(attention) }
    if try number("rope.scaling.yarn_ext_factor", default: 1) != 1 {
      throw refuse("metadata \(architecture).rope.scaling.yarn_ext_factor other than 1 is not supported")
    }
  }

  /// Frequencies divided by factors of their own, by others beyond the original length.
  private func stretched(_ rope: JSONObject, short: [Double], long: [Double]) throws -> JSONObject {
    var rope = rope
    let original = try originalPositions()
    rope["rope_type"] = .string("longrope")
    rope["original_max_position_embeddings"] = .integer(original)
    rope["short_factor"] = .array(short.map { .number($0) })
    rope["long_factor"] = .array(long.map { .number($0) })
    let attention = try number("rope.scaling.attn_factor", default: 1)
    let factor = Double(try integer("context_length")) / Double(max(original, 1))
    let plain = factor <= 1 ? 1 : (1 + log(factor) / log(Double(original))).squareRoot()
    // What follows from the lengths is left to the reader: the file has it in 32 bits.
    if abs(attention - plain) > 1e-6 * plain { rope["attention_factor"] = .number(attention) }
    return rope
  }

  /// Frequencies divided by `rope_freqs.weight`: Llama 3's scaling, where its parameters can be told from the factors.
  private func divided(_ rope: JSONObject, by factors: [Double], theta: Double) throws -> JSONObject {
    var rope = rope
    if factors.allSatisfy({ $0 == 1 }) { return rope }
    // Every released Llama 3 has these; only the factor differs.
    let (low, high, original) = (1.0, 4.0, 8192.0)
    let factor = factors.max() ?? 1
    let isLlama3 = factors.enumerated().allSatisfy { index, found in
      let wavelength = 2 * Double.pi * pow(theta, Double(index) / Double(factors.count))
      let smooth = min(max((original / wavelength - low) / (high - low), 0), 1)
      let expected = 1 / ((1 - smooth) / factor + smooth)
      return abs(found - expected) <= 1e-4 * expected
    }
    if isLlama3 {
      rope["rope_type"] = .string("llama3")
      rope["factor"] = .number(factor)
      rope["low_freq_factor"] = .number(low)
      rope["high_freq_factor"] = .number(high)
      rope["original_max_position_embeddings"] = .integer(Int(original))
    } else {
      // The same frequencies for texts of any length.
      rope["rope_type"] = .string("longrope")
      rope["short_factor"] = .array(factors.map { .number($0) })
      rope["long_factor"] = rope["short_factor"]
      rope["original_max_position_embeddings"] = .integer(try integer("context_length"))
      rope["attention_factor"] = .number(1)
    }
    return rope
  }
}
