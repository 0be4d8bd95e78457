import Formats

/// How the tensors of one model are called in one file.
public struct TensorNames: Sendable {
  private let prefixes: [(ours: String, theirs: String)]
  /// Whether norms are called as TensorFlow did: `gamma` and `beta`, in BERT's first checkpoints.
  private let hasGreekNorms: Bool

  /// - Parameter names: what the file holds
  public init(of description: ModelDescription, in names: [String]) {
    let found = Set(names.map(Self.weightName))
    hasGreekNorms = description.isEncoder && names.contains { $0.hasSuffix(".LayerNorm.gamma") }
    prefixes = description.family.otherPrefixes.compactMap { ours, others in
      // The first prefix with which a weight of the model is there.
      let wanted = description.tensors.map(\.name).filter { $0.hasPrefix(ours) }
      func count(_ prefix: String) -> Int { wanted.count { found.contains(prefix + $0.dropFirst(ours.count)) } }
      guard count(ours) == 0, let theirs = others.first(where: { count($0) > 0 }) else { return nil }
      return (ours, theirs)
    }
  }

  /// The file's name for one of ours.
  public func stored(_ name: String) -> String {
    var name = name
    if hasGreekNorms {
      for (ending, greek) in [("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")]
      where name.hasSuffix(ending) {
        name = name.dropLast(ending.count) + greek
      }
    }
    for (ours, theirs) in prefixes where name.hasPrefix(ours) { return theirs + name.dropFirst(ours.count) }
    return name
  }

  private static func weightName(_ name: String) -> String {
    name.hasSuffix(".weight_packed") ? String(name.dropLast("_packed".count)) : name
  }

  /// Refuses weights of a layer that the model has no place for: they show that the configuration is another model's, and
  /// to leave them out would give wrong results in silence.
  ///
  /// - Parameter names: what a file holds
  public func checkParts(of description: ModelDescription, in names: [String], file: String) throws {
    try Self.check(
      names, file: file, layers: stored(description.layerPrefix),
      known: Set(description.tensors.map { stored($0.name) }), of: description)
  }

  /// The same for a GGUF file.
  public static func checkGGUFParts(of description: ModelDescription, in names: [String], file: String) throws {
    try check(
      names, file: file, layers: "blk.", known: Set(description.tensors.compactMap { $0.gguf?.name }), of: description)
  }

  private static func check(
    _ names: [String], file: String, layers: String, known: Set<String>, of description: ModelDescription
  ) throws {
    for name in names where name.hasPrefix(layers) {
      let weight = weightName(name)
      guard weight.hasSuffix(".weight") || weight.hasSuffix(".bias"), !known.contains(weight),
        !description.family.ignoredEnds.contains(where: { weight.hasSuffix($0) })
      else { continue }
      throw ModelDescription.Invalid(
        file: file,
        reason:
          "tensor \(name) is no part of a \(description.family.architecture) of \(description.layers.count) layers; "
          + "weights and configuration do not belong together")
    }
  }
}

extension ModelDescription {
  /// How the names of all weights of layers begin.
  var layerPrefix: String {
    let path = layers[0].attention.output.path
    // up to the number of the layer
    guard let number = path.firstRange(of: ".0.") else { return path }
    return String(path[..<number.lowerBound]) + "."
  }
}
