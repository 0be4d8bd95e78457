import Formats
import Kernels
import Memory
import Transformer

/// The hyper-parameters of prompt tuning and P-Tuning, with PEFT's meaning.
public struct PromptConfiguration: TuningConfiguration, Equatable {
  /// What the rows begin with.
  public enum Start: String, Sendable, CaseIterable {
    /// A standard normal distribution.
    case random
    /// The embedded tokens of a text, which repeats if it is shorter.
    case text
    /// Embedded tokens that are drawn.
    case sampledVocabulary = "sample_vocab"
  }

  /// What makes the rows while training.
  public enum Encoder: String, Sendable, CaseIterable {
    case mlp
    case lstm
  }

  /// Rows in front of the text.
  public var count: Int
  /// Whether it is P-Tuning, whose rows come from an encoder.
  public var isPTuning: Bool
  /// `nil` where the rows are trained as they are.
  public var encoder: Encoder?
  /// Width of the encoder; that of the model if `nil`.
  public var encoderSize: Int?
  public var start = Start.random
  public var startText: String?
  /// `startText`, tokenised.
  public var startTokens: [Int32] = []

  public init(count: Int = 20, isPTuning: Bool = false, encoder: Encoder? = nil, encoderSize: Int? = nil) {
    self.count = count
    self.isPTuning = isPTuning
    self.encoder = encoder
    self.encoderSize = encoderSize
  }

  /// Layers of an LSTM encoder, as PEFT's.
  static let recurrentLayers = 2

  init(_ prompt: PEFTPromptTuning, file: String) throws {
    try self.init(prompt.shape, prompt.common, isPTuning: false, file: file)
    start = Start(rawValue: prompt.initialisation.lowercased()) ?? .random
    startText = prompt.initialText
  }

  /// What a file holds is what an encoder has made: it is used, and trained on, without one.
  init(_ prompt: PEFTPTuning, file: String) throws {
    try self.init(prompt.shape, prompt.common, isPTuning: true, file: file)
  }

  /// - Parameter file: where errors point to
  private init(_ shape: PEFTPromptShape, _ common: PEFTCommon, isPTuning: Bool, file: String) throws {
    func refuse(_ reason: String) -> UnsupportedAdapter { .init(file: file, reason: reason) }
    if let reason = common.reasonAgainstModules { throw refuse(reason) }
    guard shape.submoduleCount ?? 1 == 1 else {
      throw refuse("num_transformer_submodules is not 1: the adapter is for a model with encoder and decoder")
    }
    self.init(count: shape.virtualTokenCount, isPTuning: isPTuning)
  }

  public var virtualTokenCount: Int { count }
  public var promptRowCount: Int { count }

  public func reserve(for model: LanguageModel, in room: TuningRoom) throws -> any TuningMethod {
    guard model.embedsPlainly else {
      throw AdapterError.unsuitableModel(
        "prompts need an embedding as wide as the model; this model projects its embedding")
    }
    return try PromptMethod(configuration: self, model: model, in: room)
  }

  /// The rows lengthen the text; beside that there is nothing.
  public func floatProducts(for model: LanguageModel) throws -> Double { 0 }

  public func smaller(for model: LanguageModel) -> [(option: String, configuration: any TuningConfiguration)] {
    guard count > 1 else { return [] }
    var changed = self
    changed.count = count / 2
    return [("--num-virtual-tokens \(count / 2)", changed)]
  }

  public var identity: [(String, String)] {
    [
      ("virtual_tokens", "\(count)"), ("encoder", encoder?.rawValue ?? "none"),
      ("encoder_size", encoderSize.map { "\($0)" } ?? "default"), ("start", start.rawValue),
    ]
  }
}
