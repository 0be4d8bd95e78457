import Formats
import Transformer

/// The factors of a LoRA adapter's folder, by layer: for what is made of several adapters. They are read one by one.
package struct LowRankFile: Sendable {
  /// The factors at one layer.
  package struct Part {
    let a: Factor  // [rank, in]
    let b: Factor  // Bᵀ, [rank, out]
    /// What the product of the factors is multiplied with.
    package let weight: Double

    package var rank: Int { a.rows }
    /// `A`, row by row, `[rank, in]`.
    package var aValues: [Float] { a.values.map(Float.init) }
    /// `B`, row by row, `[out, rank]`.
    package var bValues: [Float] { b.transposed.values.map(Float.init) }
  }

  let directory: String
  package let file: PEFTLoRA
  /// Names of the layers as the file has them, in alphabetical order.
  package let names: [String]
  private let weights: SafetensorsFile
  /// Ends of the names of the factors.
  private let ends: (a: String, b: String)
  /// Of the whole adapter, beside its scaling; `nil` where both are in the factors.
  private let weight: Double?

  /// - Parameter weight: of the whole adapter, beside its scaling
  package init(directory: String, weight: Double = 1) throws {
    self.directory = directory
    let path = "\(directory)/\(PEFTConfiguration.fileName)"
    guard try AdapterFolder.areLowRank([directory]),
      case .lora(let lora) = try PEFTConfiguration.load(directory: directory)
    else {
      throw AdapterError.unsuitableModel("\(path): only LoRA adapters can be put together so")
    }
    guard !lora.useDoRA else {
      throw AdapterError.unsuitableModel(
        "\(path): a DoRA adapter scales the base and cannot be put together with others; merge it instead")
    }
    guard lora.bias == "none" else {
      throw AdapterError.unsuitableModel(
        "\(path): the adapter has biases of its own (bias \(lora.bias)) and cannot be put together with others; merge "
          + "it instead")
    }
    guard lora.trainableTokens.isEmpty else {
      throw AdapterError.unsuitableModel(
        "\(path): the adapter has rows of the embedding of its own (trainable_token_indices) and cannot be put together "
          + "with others; merge it instead")
    }
    if let module = lora.common.modulesBesideHead.first {
      throw AdapterError.unsuitableModel(
        "\(path): the adapter has modules of its own (modules_to_save with \(module)) and cannot be put together with "
          + "others; merge it instead")
    }
    _ = try LowRankConfiguration(lora, file: path)
    file = lora
    weights = try SafetensorsFile(path: "\(directory)/\(TrainableFiles.weightsName)")
    ends = (".lora_A.weight", ".lora_B.weight")
    names = Self.names(in: weights, end: ends.a)
    self.weight = weight
  }

  /// An expert of a mixture, whose scaling is in its factors.
  ///
  /// - Parameters:
  ///   - directory: folder of the mixture
  ///   - expert: its number there
  init(mixture directory: String, expert: Int) throws {
    self.directory = directory
    file = PEFTLoRA(rank: 1, alpha: 1, targetModules: nil)
    ends = MixtureFiles.ends(expert: expert)
    weights = try SafetensorsFile(path: "\(directory)/\(TrainableFiles.weightsName)")
    names = Self.names(in: weights, end: ends.a)
    weight = nil
  }

  private static func names(in weights: SafetensorsFile, end: String) -> [String] {
    weights.tensorNames.filter { $0.hasSuffix(end) }.map { String($0.dropLast(end.count)) }.sorted()
  }

  /// The factors as they lie in the file.
  private func tensors(_ name: String) throws -> (a: StoredTensor, b: StoredTensor) {
    guard let a = weights.tensor(name + ends.a) else {
      throw AdapterError.missingTensor(file: weights.path, tensor: name + ends.a)
    }
    guard let b = weights.tensor(name + ends.b) else {
      throw AdapterError.missingTensor(file: weights.path, tensor: name + ends.b)
    }
    guard a.shape.count == 2, b.shape.count == 2, a.shape[0] == b.shape[1] else {
      throw AdapterError.wrongShape(
        file: weights.path, tensor: name + ends.a, found: a.shape, expected: b.shape.reversed())
    }
    return (a, b)
  }

  /// The factors at the layer that the file calls `name`; `nil` where it has none.
  package func part(_ name: String) throws -> Part? {
    guard names.contains(name) else { return nil }
    let (a, b) = try tensors(name)
    for tensor in [a, b] { try TrainableFiles.checkFinite(tensor, in: weights.path) }
    return Part(
      a: Factor(rows: a.shape[0], columns: a.shape[1], values: a.floats().map(Double.init)),
      b: Factor(rows: b.shape[0], columns: b.shape[1], values: b.floats().map(Double.init)).transposed,
      weight: try weight.map { try $0 * scaling(name, rank: Double(a.shape[0])) } ?? 1)
  }

  private func scaling(_ name: String, rank: Double) throws -> Double {
    let alpha = try file.alphaPattern.value(for: Self.layer(name)) ?? file.alpha
    return alpha / (file.useRSLoRA ? rank.squareRoot() : rank)
  }

  /// A tensor that is no factor, if the file has one.
  package var otherTensor: String? {
    let factors = Set(names.flatMap { [$0 + ends.a, $0 + ends.b] })
    return weights.tensorNames.first { !factors.contains($0) }
  }

  /// The path that a model gives the layer that a file calls `name`.
  package static func layer(_ name: String) -> String {
    let wrapped = "base_model.model."
    return name.hasPrefix(wrapped) ? String(name.dropFirst(wrapped.count)) : name
  }

  /// The layers of a model that have factors, with their ranks.
  ///
  /// - Parameter locations: all linear layers of the model
  /// - Throws: `AdapterError` for a layer that the model has not, or that has another shape there
  func ranks(at locations: [LinearLocation]) throws -> [(location: LinearLocation, name: String, rank: Int)] {
    let known = Dictionary(uniqueKeysWithValues: locations.map { ($0.name, $0) })
    return try names.map { name in
      guard let location = known[Self.layer(name)] else {
        throw AdapterError.unsuitableModel(
          "\(directory): the model has no layer \(Self.layer(name)); the adapter is one of another model")
      }
      let (a, b) = try tensors(name)
      guard a.shape[1] == location.shape.in, b.shape[0] == location.shape.out else {
        throw AdapterError.unsuitableModel(
          "\(directory): \(location.name) is \(b.shape[0]) x \(a.shape[1]) there and \(location.shape.out) x "
            + "\(location.shape.in) in the model; the adapter is one of another model")
      }
      return (location, name, a.shape[0])
    }
  }
}
