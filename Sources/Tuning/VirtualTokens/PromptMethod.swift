import Formats
import Kernels
import Memory
import Randomness
import Transformer

/// Rows in front of the embedded text: prompt tuning trains them as they are, P-Tuning through an encoder.
///
/// Sources: Lester et al. 2021, arXiv 2104.08691; Liu et al. 2021, arXiv 2103.10385.
public final class PromptMethod: TuningMethod {
  public let configuration: PromptConfiguration
  public let trainables: Trainables
  /// `[virtual tokens, hidden]`: the parameters, or what the encoder makes of them.
  private let prompt: Matrix
  private let promptGradient: Matrix
  private let encoder: PromptEncoder?
  private let model: LanguageModel
  private let isTrained: Bool

  init(configuration: PromptConfiguration, model: LanguageModel, in room: TuningRoom) throws {
    self.configuration = configuration
    self.model = model
    isTrained = room.isTrained
    let (count, width) = (configuration.count, model.description.hiddenSize)
    guard let kind = configuration.encoder else {
      trainables = try Trainables(
        [.init(PrefixMethod.tensorName, rows: count, columns: width)], of: model, in: room)
      (prompt, promptGradient) = (trainables.entries[0].matrix, trainables.entries[0].gradient)
      encoder = nil
      return
    }
    let encoder = try PromptEncoder(
      rows: count, width: width, layers: Self.layers(kind, inner: configuration.encoderSize ?? width, out: width),
      of: model, in: room)
    (trainables, prompt, promptGradient) = (encoder.trainables, encoder.output, encoder.outputGradient)
    self.encoder = encoder
  }

  /// The layers of PEFT's encoders.
  private static func layers(_ kind: PromptConfiguration.Encoder, inner: Int, out: Int) -> [PromptEncoder.Layer] {
    switch kind {
    case .mlp:
      [
        .linear(name: "mlp_head.0", out: inner, activation: .relu),
        .linear(name: "mlp_head.2", out: inner, activation: .relu),
        .linear(name: "mlp_head.4", out: out, activation: .none),
      ]
    case .lstm:
      (0..<PromptConfiguration.recurrentLayers).map { .recurrent(name: "lstm_head", index: $0, size: inner) } + [
        .linear(name: "mlp_head.0", out: 2 * inner, activation: .relu),
        .linear(name: "mlp_head.2", out: out, activation: .none),
      ]
    }
  }

  public var promptCount: Int { configuration.count }

  public func keptColumns(at location: LinearLocation) -> Int { 0 }

  public func hook(into model: LanguageModel) {
    model.setPrompt(PromptRows(prompt, gradient: isTrained ? promptGradient : nil))
    trainables.attachHead()
  }

  public func initialize(seed: UInt64) {
    var generator = SplitMix64(seed: seed)
    if let encoder {
      encoder.initialize(&generator)
    } else {
      for row in 0..<prompt.rows {
        switch configuration.start {
        case .random: prompt.row(row).assign((0..<prompt.columns).map { _ in generator.normal() })
        case .text:
          let tokens = configuration.startTokens
          if !tokens.isEmpty { prompt.row(row).assign(model.embeddedToken(tokens[row % tokens.count])) }
        case .sampledVocabulary:
          prompt.row(row).assign(
            model.embeddedToken(Int32(generator.next() % UInt64(model.vocabularySize))))
        }
      }
      if configuration.start != .random { model.store.dropPages() }
    }
    trainables.initializeHead(seed: seed)
  }

  public func parametersChanged(pool: ThreadPool) { encoder?.forward(pool: pool) }

  public func completeGradients(pool: ThreadPool) { encoder?.backward(pool: pool) }

  /// The encoder is folded in: what it makes is written.
  public func save(to directory: String, baseModel: String) throws {
    encoder?.forward(pool: ThreadPool(threadCount: 1))
    try trainables.writePrompt(prompt, to: directory)
    let shape = PEFTPromptShape(
      virtualTokenCount: prompt.rows, tokenDimension: prompt.columns,
      headCount: model.attentions.first?.shape.headCount, layerCount: model.attentions.count)
    let common = trainables.common(baseModel: baseModel)
    if configuration.isPTuning {
      var file = PEFTPTuning(shape: shape, common: common)
      file.encoder = configuration.encoder?.rawValue.uppercased() ?? "MLP"
      file.encoderHiddenSize = configuration.encoderSize ?? prompt.columns
      try PEFTConfiguration.pTuning(file).write(to: directory)
    } else {
      var file = PEFTPromptTuning(shape: shape, common: common)
      file.initialisation = configuration.start.rawValue.uppercased()
      if configuration.start == .text { (file.initialText, file.tokenizer) = (configuration.startText, baseModel) }
      try PEFTConfiguration.promptTuning(file).write(to: directory)
    }
    try trainables.saveHead(to: directory)
  }

  public func load(from directory: String) throws {
    try trainables.readPrompt(prompt, isMade: encoder != nil, from: directory)
  }
}

extension Trainables {
  /// Writes a prompt or prefix, trained or made by an encoder, and the head.
  func writePrompt(_ prompt: Matrix, to directory: String) throws {
    try TrainableFiles.write(withPrompt(prompt), \.matrix, to: "\(directory)/\(TrainableFiles.weightsName)")
  }

  /// Reads them.
  ///
  /// - Parameter isMade: whether an encoder makes the prompt, of which a file knows nothing
  func readPrompt(_ prompt: Matrix, isMade: Bool, from directory: String) throws {
    let path = "\(directory)/\(TrainableFiles.weightsName)"
    guard !isMade else {
      throw AdapterError.unexpectedTensor(
        file: path, tensor: PrefixMethod.tensorName, reason: "the encoder that made it cannot be found again")
    }
    try TrainableFiles.read(withPrompt(prompt), from: path, passingOver: isOtherHead)
  }

  /// What the file of a prompt or prefix holds: what was trained or made, and the head, which PEFT does not wrap there.
  private func withPrompt(_ prompt: Matrix) -> [Trainable] {
    let own = Trainable(
      name: PrefixMethod.tensorName, matrix: prompt, gradient: prompt, isTransposed: false, isVector: false,
      learningRateFactor: 1)
    let wrapped = "base_model.model."
    return [own] + headEntries.map { $0.named("base_model." + $0.name.dropFirst(wrapped.count)) }
  }
}
