import Formats
import Glibc

extension GGUFHeader {
  /// Base and stretching of the rotation.
  ///
  /// - Parameters:
  ///   - rope: `rope_parameters` of a configuration
  ///   - theta: where nothing says
  mutating func addRotary(_ rope: JSONValue, theta fallback: Double) throws {
    let parameters = ConfigurationReader(json: rope, file: reader.file)
    let theta = try parameters.number(
      "rope_theta", 1...1e12, default: try reader.number("rope_theta", 1...1e12, default: fallback))
    add("rope.freq_base", theta)
    let type = rope["rope_type"]?.stringValue ?? rope["type"]?.stringValue ?? "default"
    switch type {
    case "linear":
      add("rope.scaling.type", .string("linear"))
      add("rope.scaling.factor", try parameters.number("factor", 1...1e6))
    case "llama3": try addFactors(theta: theta)
    case "yarn" where model.family != .phi3: try addYarn(parameters)
    case "longrope", "su", "yarn": try addLongRoPE(rope, theta: theta)
    // Up to the length that the model was made for it is none.
    case "dynamic": break
    default: break
    }
  }

  private func original(_ parameters: ConfigurationReader) throws -> Int {
    if reader["original_max_position_embeddings"] != nil {
      return try reader.integer("original_max_position_embeddings", 1...100_000_000)
    }
    return try parameters.integer(
      "original_max_position_embeddings", 1...100_000_000,
      default: model.family == .phi3 ? 4096 : model.maximumPositions)
  }

  /// Llama 3's scaling is the factors by which frequencies are divided.
  private mutating func addFactors(theta: Double) throws {
    guard architecture == "llama" else { throw refuse("llama.cpp has no rope type llama3 for \(architecture)") }
    extras.append(.init(name: "rope_freqs.weight", values: factors(model.rotaries[0].frequencies, theta: theta)))
  }

  private func factors(_ frequencies: [Double], theta: Double) -> [Float] {
    zip(RotaryDescription.plain(theta: theta, dimension: 2 * frequencies.count), frequencies).map { Float($0 / $1) }
  }

  private mutating func addYarn(_ parameters: ConfigurationReader) throws {
    let original = try original(parameters)
    let factor =
      parameters["factor"] == nil
      ? Double(model.maximumPositions) / Double(original) : try parameters.number("factor", 1e-3...1e6)
    guard try parameters.flag("truncate", default: true) else {
      throw refuse("llama.cpp has no yarn with truncate off")
    }
    add("rope.scaling.type", .string("yarn"))
    add("rope.scaling.factor", factor)
    add("rope.scaling.original_context_length", original)
    for (key, name) in [("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")] where parameters[key] != nil {
      add("rope.scaling.\(name)", try parameters.number(key, 1e-6...1e6))
    }
    // llama.cpp computes the plain factor itself and multiplies by this one.
    let plain = factor <= 1 ? 1 : 0.1 * log(factor) + 1
    let attention = model.rotaries[0].factor
    if abs(attention - plain) > 1e-6 * plain { add("rope.scaling.attn_factor", attention / plain) }
  }

  private mutating func addLongRoPE(_ rope: JSONValue, theta: Double) throws {
    let rotary = model.rotaries[0]
    guard architecture == "llama" || architecture == "phi3" else {
      throw refuse("llama.cpp has no rope type longrope for \(architecture)")
    }
    let original = try original(ConfigurationReader(json: rope, file: reader.file))
    // The converter writes no type for Phi-3, whose loader asks for none.
    if architecture == "llama" { add("rope.scaling.type", .string("longrope")) }
    add("rope.scaling.original_context_length", original)
    add("rope.scaling.attn_factor", rotary.factor)
    extras.append(
      .init(
        name: "rope_factors_long.weight", values: factors(rotary.long?.frequencies ?? rotary.frequencies, theta: theta))
    )
    extras.append(.init(name: "rope_factors_short.weight", values: factors(rotary.frequencies, theta: theta)))
    remarks.append(
      "llama.cpp takes the factors of long texts whenever its context (-c) is longer than \(original), those of short ones "
        + "otherwise; the model goes by the length of the text")
  }
}
