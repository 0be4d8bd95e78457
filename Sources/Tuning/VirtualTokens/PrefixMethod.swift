import Formats
import Kernels
import Memory
import Randomness
import Transformer

/// Prefix tuning: keys and values in front of every layer's attention, trained as they are or through an encoder.
///
/// Sources: Li & Liang 2021, arXiv 2101.00190; Liu et al. 2021, arXiv 2110.07602 (P-Tuning v2).
public final class PrefixMethod: TuningMethod {
  public let configuration: PrefixConfiguration
  public let trainables: Trainables
  /// `[virtual tokens, layers with a prefix * (keys, then values)]`: the parameters, or what the encoder makes of them.
  private let prompt: Matrix
  private let encoder: PromptEncoder?
  /// By layer.
  private let prefixes: [AttentionPrefix?]
  /// Numbers of the layers that have a prefix.
  private let layers: [Int]
  private let headCount: Int
  private let width: Int

  static let tensorName = "prompt_embeddings"

  init(configuration: PrefixConfiguration, model: LanguageModel, in room: TuningRoom) throws {
    self.configuration = configuration
    let isTrained = room.isTrained
    let (count, width, attentions) = (configuration.count, try configuration.width(in: model), model.attentions)
    self.width = width
    headCount = attentions[0].shape.keyValueHeadCount
    let layers = configuration.layers(in: model)
    guard !layers.isEmpty else {
      throw AdapterError.unsuitableModel("prefix tuning: every layer is switched off; nothing is left to train")
    }
    self.layers = layers
    let columns = layers.count * 2 * width
    let gradient: Matrix
    if configuration.hasProjection {
      let encoder = try PromptEncoder(
        rows: count, width: width,
        layers: Self.layers(configuration.encoder, inner: configuration.encoderSize ?? width, out: columns),
        hasStart: !configuration.startTokens.isEmpty, of: model, in: room)
      (trainables, prompt, gradient) = (encoder.trainables, encoder.output, encoder.outputGradient)
      self.encoder = encoder
    } else {
      trainables = try Trainables(
        [.init(Self.tensorName, rows: count, columns: columns)], of: model, in: room)
      (prompt, gradient) = (trainables.entries[0].matrix, trainables.entries[0].gradient)
      encoder = nil
    }
    let shape = attentions[0].shape
    let byteCount = Attention.PrefixGradient.byteCount(shape: shape, count: isTrained ? count : 0)
    let samples = Scratch(
      room.arena.allocate("gradients of prefixes by sample", kind: .adapter, byteCount: byteCount), byteCount: byteCount
    )
    prefixes = attentions.enumerated().map { [prompt] layer, attention in
      guard let index = layers.firstIndex(of: layer) else { return nil }
      let (keys, values) = (
        2 * index * width..<(2 * index + 1) * width, (2 * index + 1) * width..<(2 * index + 2) * width
      )
      return AttentionPrefix(
        Attention.Prefix(key: prompt.columns(keys), value: prompt.columns(values), shape: attention.shape),
        gradient: !isTrained
          ? nil
          : Attention.PrefixGradient(
            key: gradient.columns(keys), value: gradient.columns(values), shape: attention.shape, samples: samples))
    }
  }

  /// The layers of PEFT's encoder; with an LSTM in front of them, as P-Tuning v2 has it.
  private static func layers(_ kind: PromptConfiguration.Encoder, inner: Int, out: Int) -> [PromptEncoder.Layer] {
    let recurrent: [PromptEncoder.Layer] =
      kind == .mlp
      ? []
      : (0..<PromptConfiguration.recurrentLayers).map { .recurrent(name: "lstm_head", index: $0, size: inner) }
    return recurrent + [
      .linear(name: "transform.0", out: inner, activation: .tanh),
      .linear(name: "transform.2", out: out, activation: .none),
    ]
  }

  public var prefixCount: Int { configuration.count }

  public func keptColumns(at location: LinearLocation) -> Int { 0 }

  public func hook(into model: LanguageModel) {
    model.setPrefixes(prefixes, count: configuration.count)
    trainables.attachHead()
  }

  /// As PyTorch starts PEFT's: rows of a standard normal distribution, layers of the encoder uniform in `±1/sqrt(in)`.
  public func initialize(seed: UInt64) {
    var generator = SplitMix64(seed: seed)
    if let encoder {
      encoder.initialize(&generator)
    } else {
      prompt.elements.assign((0..<prompt.rows * prompt.columns).map { _ in generator.normal() })
    }
    trainables.initializeHead(seed: seed)
  }

  /// From the keys and values of a text, if the configuration has one.
  public func initialize(seed: UInt64, for model: LanguageModel, workspace: Workspace, pass: Pass) {
    initialize(seed: seed)
    let tokens = configuration.startTokens
    guard !tokens.isEmpty else { return }
    let start = encoder?.start ?? prompt
    let text = (0..<prompt.rows).map { tokens[$0 % tokens.count] }
    model.removeHooks()
    model.keysAndValues(of: text, workspace: workspace, pass: pass) { layer, key, value in
      guard let place = layers.firstIndex(of: layer) else { return }
      for (index, part) in [key, value].enumerated() {
        let first = (2 * place + index) * width
        let target = start.columns(first..<first + width)
        VectorOperations.copy(part, into: HeadMatrix(target, size: part.size), pool: pass.engine.pool)
      }
    }
    attach(to: model)
  }

  public func parametersChanged(pool: ThreadPool) { encoder?.forward(pool: pool) }

  public func completeGradients(pool: ThreadPool) { encoder?.backward(pool: pool) }

  /// The encoder is folded in: what it makes is written, as if it had been trained without one.
  public func save(to directory: String, baseModel: String) throws {
    encoder?.forward(pool: ThreadPool(threadCount: 1))
    try trainables.writePrompt(prompt, to: directory)
    var file = PEFTPrefixTuning(
      shape: PEFTPromptShape(
        virtualTokenCount: prompt.rows, tokenDimension: width, headCount: headCount, layerCount: layers.count),
      common: trainables.common(baseModel: baseModel))
    file.leaveOut = configuration.leaveOut
    try PEFTConfiguration.prefixTuning(file).write(to: directory)
    try trainables.saveHead(to: directory)
  }

  public func load(from directory: String) throws {
    try trainables.readPrompt(prompt, isMade: encoder != nil, from: directory)
  }
}
