import Architectures
import Formats
import Kernels
import Transformer

/// Files of trained matrices, as PEFT lays them out.
enum TrainableFiles {
  static let weightsName = "adapter_model.safetensors"

  /// Writes matrices as an F32 safetensors file, in alphabetical order as PEFT does.
  ///
  /// - Parameter matrix: what to write of a trainable
  static func write(_ trainables: [Trainable], _ matrix: (Trainable) -> Matrix, to path: String) throws {
    let sorted = trainables.sorted { $0.name < $1.name }
    let writer = try SafetensorsWriter(
      path: path,
      headerByteCount: SafetensorsWriter.headerByteCount(
        tensors: sorted.count, longestName: sorted.map(\.name.utf8.count).max() ?? 0))
    for entry in sorted {
      try writer.begin(.init(name: entry.name, elementType: .f32, shape: entry.shape))
      try entry.forEachFileRow(of: matrix(entry)) { try writer.append($0) }
    }
    try writer.finish()
  }

  /// Why a tensor has no place.
  private static func unexpected(_ name: String) -> String {
    let ends = ["lm_head", "embed_out", "embed_tokens", "embed_in", "wte", "word_embeddings"]
    if name.contains("lora_embedding_") || ends.contains(where: { name.contains(".\($0).") }) {
      return "LoRA at the embedding or the head of the vocabulary is not supported; modules_to_save trains them whole"
    }
    return "this model has no such layer; name the model of the adapter with --model"
  }

  /// Reads matrices.
  ///
  /// - Parameter passingOver: whether a tensor that is none of them does not matter
  /// - Throws: `AdapterError` when a tensor is missing, is one too many, or has another shape.
  static func read(
    _ trainables: [Trainable], from path: String, passingOver: (String) -> Bool = { _ in false }
  ) throws {
    let file = try SafetensorsFile(path: path)
    let names = Set(trainables.map(\.name))
    for name in file.tensorNames where !names.contains(name) && !passingOver(name) {
      throw AdapterError.unexpectedTensor(file: path, tensor: name, reason: unexpected(name))
    }
    for entry in trainables {
      let name = entry.name
      guard let tensor = file.tensor(name) else { throw AdapterError.missingTensor(file: path, tensor: name) }
      guard tensor.shape == entry.shape else {
        throw AdapterError.wrongShape(file: path, tensor: name, found: tensor.shape, expected: entry.shape)
      }
      guard [.f32, .f16, .bf16].contains(tensor.elementType) else {
        throw AdapterError.unexpectedTensor(
          file: path, tensor: name, reason: "has type \(tensor.elementType.rawValue), expected F32, F16 or BF16")
      }
      guard entry.isTransposed else {
        // Row by row: a whole embedding is large.
        for row in 0..<entry.matrix.rows {
          let target = entry.matrix.row(row)
          tensor.copyFloats(
            range: row * target.count..<(row + 1) * target.count,
            into: UnsafeMutableBufferPointer(start: target.base, count: target.count))
        }
        continue
      }
      var values = [Float](repeating: 0, count: tensor.elementCount)
      values.withUnsafeMutableBufferPointer { tensor.copyFloats(range: 0..<$0.count, into: $0) }
      entry.assign(values)
    }
  }
}

extension Trainables {
  /// Writes the gradient of every matrix, under the names of the matrices.
  public func writeGradients(to path: String) throws {
    try TrainableFiles.write(entries, \.gradient, to: path)
  }
}

extension PEFTCommon {
  /// Modules that are trained whole, without the head of a classifier.
  package var modulesBesideHead: [String] {
    let hasHead = ["SEQ_CLS", "TOKEN_CLS"].contains(taskType)
    return modulesToSave.filter { !hasHead || !Family.isHeadModule($0) }
  }

  /// Why a method that trains no whole modules refuses these, if there are any.
  var reasonAgainstModules: String? {
    modulesBesideHead.first.map { "modules_to_save with \($0) is only supported beside LoRA" }
  }
}

/// Reading and writing LoRA adapters as PEFT folders: `adapter_config.json` and `adapter_model.safetensors`.
extension LowRankMethod {
  /// PEFT's names: `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.
  static func tensorName(_ location: LinearLocation, _ part: String) -> String {
    "base_model.model.\(location.name).lora_\(part).weight"
  }

  /// PEFT's names: a layer with an adapter is wrapped.
  static func biasName(_ location: LinearLocation, isAdapted: Bool) -> String {
    "base_model.model.\(location.name).\(isAdapted ? "base_layer." : "")bias"
  }

  static func magnitudeName(_ location: LinearLocation) -> String {
    "base_model.model.\(location.name).lora_magnitude_vector"
  }

  public func save(to directory: String, baseModel: String) throws {
    for adapter in adapters { adapter.fixed?.refresh(a: adapter.a, bTransposed: adapter.bTransposed) }
    try TrainableFiles.write(stored + repeated, \.matrix, to: "\(directory)/\(TrainableFiles.weightsName)")
    let locations = adapters.filter { $0.rank > 0 }.map(\.location)
    var common = trainables.common(baseModel: baseModel)
    common.modulesToSave += configuration.wholeModules.filter { !common.modulesToSave.contains($0) }
    var file = configuration.peft(
      common: common, wrapped: locations, usesConv1D: usesConv1D)
    // PEFT would find the short names in the head as well.
    if !trainables.headNames.isDisjoint(with: TargetModules.shortNames(locations)) {
      file.targetModules = .names(locations.map(\.name))
    }
    try PEFTConfiguration.lora(file).write(to: directory)
    try trainables.saveHead(to: directory)
  }
}

extension LowRankConfiguration {
  /// What `adapter_config.json` in `directory` says.
  public static func load(from directory: String) throws -> LowRankConfiguration {
    let file = "\(directory)/\(PEFTConfiguration.fileName)"
    guard case .lora(let lora) = try PEFTConfiguration.load(directory: directory) else {
      throw UnsupportedAdapter(file: file, reason: "is no LoRA adapter")
    }
    return try LowRankConfiguration(lora, file: file)
  }

  /// - Parameter file: where errors point to
  init(_ lora: PEFTLoRA, file: String) throws {
    if let reason = Self.whatIsNotSupported(in: lora) {
      throw UnsupportedAdapter(file: file, reason: reason)
    }
    guard let targets = lora.targetModules else {
      throw UnsupportedAdapter(
        file: file, reason: "target_modules is neither a list of names nor a pattern")
    }
    self.init(
      rank: lora.rank, alpha: lora.alpha, dropout: lora.dropout, targetModules: TargetModules(targets),
      useRSLoRA: lora.useRSLoRA)
    useDoRA = lora.useDoRA
    biases = TrainedBiases(rawValue: lora.bias) ?? .none
    trainedTokens = lora.trainableTokens
    wholeModules = lora.common.modulesBesideHead
    ensuresWeightTying = lora.ensuresWeightTying
    rankPattern = lora.rankPattern
    alphaPattern = lora.alphaPattern
    selection = TargetSelection(
      excluded: lora.excludeModules.map { TargetModules($0) }, layers: lora.layersToTransform,
      layersPattern: lora.layersPattern)
    if lora.initialisation == .named("gaussian") { initialisation = .gaussian }
  }

  /// The one list of what an adapter may state and the program cannot honour; a line goes when it can.
  private static func whatIsNotSupported(in lora: PEFTLoRA) -> String? {
    if lora.loraBias { return "lora_bias is not supported" }
    // A frozen store cannot lose what the adapter starts with.
    if lora.initialisation.changesBase, case .named(let start) = lora.initialisation {
      return "init_lora_weights \(start) changes the base model; convert the adapter to plain LoRA with PEFT first"
    }
    return othersWithEffect.first { lora.others[$0] != nil }.map { "\($0) is not supported" }
  }

  /// Further keys that change the adapter; those that nobody knows are passed over, as PEFT does.
  private static let othersWithEffect = [
    "layer_replication", "target_parameters", "use_qalora", "use_bdlora", "alora_invocation_tokens", "arrow_config",
    "kasa_config", "monteclora_config",
  ]

  /// - Parameters:
  ///   - common: what all methods say alike
  ///   - wrapped: the layers that have adapters
  ///   - usesConv1D: whether the base keeps its weights transposed
  func peft(common: PEFTCommon, wrapped: [LinearLocation], usesConv1D: Bool) -> PEFTLoRA {
    // With what takes the start off the rank is twice what is trained, and the scaling stays.
    let times = initialisation.subtractsStart ? 2 : 1
    let alphaTimes = useRSLoRA ? Double(times).squareRoot() : Double(times)
    var lora = PEFTLoRA(
      rank: times * rank, alpha: alphaTimes * alpha, dropout: dropout,
      targetModules: targetModules.modules(wrapped: wrapped),
      common: common)
    lora.useRSLoRA = useRSLoRA
    lora.useDoRA = useDoRA
    lora.bias = biases.rawValue
    lora.trainableTokens = trainedTokens
    lora.ensuresWeightTying = ensuresWeightTying
    lora.rankPattern = rankPattern.map { .init(pattern: $0.pattern, value: times * $0.value) }
    lora.alphaPattern = alphaPattern.map { .init(pattern: $0.pattern, value: alphaTimes * $0.value) }
    lora.excludeModules = selection.excluded?.modules(wrapped: wrapped)
    lora.layersToTransform = selection.layers
    lora.layersPattern = selection.layersPattern
    lora.fanInFanOut = usesConv1D
    lora.initialisation = initialisation == .gaussian ? .named("gaussian") : .standard(true)
    return lora
  }
}
