import Architectures
import Formats
import FoundationEssentials
import Glibc
import WeightStore

extension ModelSource {
  /// A model of made-up weights: for benchmarks and tests at sizes that nobody wants to download.
  ///
  /// Every weight follows from the seed, its tensor's name and its place alone, so that a source of any size needs no
  /// memory. Matrices are roughly normal with a deviation of `1 / sqrt(columns)`, norms are 1, biases small.
  ///
  /// - Parameters:
  ///   - configurationJSON: `config.json`
  ///   - companions: files to write beside the weights (a tokenizer)
  /// - Throws: when the configuration is not supported
  public static func random(
    configurationJSON: JSONValue, file: String = "config.json", seed: UInt64, companions: [CompanionFile] = []
  ) throws -> ModelSource {
    let description = try ModelDescription(json: configurationJSON, file: file)
    let shifted = description.shiftedNorms
    return ModelSource(
      path: "random weights", configurationJSON: description.family.configuration(configurationJSON),
      description: description, companions: companions, warnings: []
    ) { wanted in
      let (name, shape) = (wanted.name, wanted.shape)
      let columns = shape[shape.count - 1]
      let scale: Float = shape.count == 1 ? (name.hasSuffix(".bias") ? 0.02 : 0) : 1 / Float(columns).squareRoot()
      let mean: Float = shape.count == 1 && !name.hasSuffix(".bias") && !shifted.contains(name) ? 1 : 0
      let key = name.utf8.reduce(mixed(seed)) { mixed($0 ^ UInt64($1)) }
      return SourceTensor(name: name, shape: shape) { rows, target in
        for place in 0..<rows.count * columns {
          let bits = mixed(key &+ UInt64(rows.lowerBound * columns + place))
          // The sum of four uniform numbers has variance 1/3 and looks normal enough.
          var sum: Float = -2
          for part in 0..<4 { sum += Float(bits >> UInt64(16 * part) & 0xFFFF) / 65_536 }
          target[place] = mean + scale * sum * 1.732
        }
      }
    }
  }

  /// Made-up weights in the shape that a `config.json` gives, with the tokenizer that stands beside it, if one does.
  public static func random(configurationFile path: String, seed: UInt64) throws -> ModelSource {
    let directory = URL(fileURLWithPath: path).deletingLastPathComponent().path
    return try random(
      configurationJSON: try JSONValue.parse(contentsOf: path), file: path, seed: seed,
      companions: try CompanionFile.all(in: directory))
  }

  /// The output function of SplitMix64.
  private static func mixed(_ value: UInt64) -> UInt64 {
    var bits = value &+ 0x9E37_79B9_7F4A_7C15
    bits = (bits ^ bits >> 30) &* 0xBF58_476D_1CE4_E5B9
    bits = (bits ^ bits >> 27) &* 0x94D0_49BB_1331_11EB
    return bits ^ bits >> 31
  }
}
