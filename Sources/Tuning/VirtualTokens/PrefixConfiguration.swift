import Formats
import Kernels
import Memory
import Transformer

/// The hyper-parameters of prefix tuning, with PEFT's meaning.
public struct PrefixConfiguration: TuningConfiguration, Equatable {
  /// Keys and values in front of every layer's attention.
  public var count: Int
  /// Whether an encoder makes them while training.
  public var hasProjection: Bool
  /// Width of the encoder; that of a layer's keys if `nil`.
  public var encoderSize: Int?
  /// Two layers, or an LSTM in front of them.
  public var encoder = PromptConfiguration.Encoder.mlp
  /// Layers without a prefix, from 0.
  public var leaveOut: [Int] = []
  /// A text, tokenised, whose keys and values are the start; empty for a random one. It repeats if it is shorter.
  public var startTokens: [Int32] = []

  public init(count: Int = 20, hasProjection: Bool = false, encoderSize: Int? = nil) {
    self.count = count
    self.hasProjection = hasProjection
    self.encoderSize = encoderSize
  }

  /// What a file holds is what an encoder has made: it is used, and trained on, without one.
  ///
  /// - Parameter file: where errors point to
  init(_ prefix: PEFTPrefixTuning, file: String) throws {
    func refuse(_ reason: String) -> UnsupportedAdapter { .init(file: file, reason: reason) }
    if let reason = prefix.common.reasonAgainstModules { throw refuse(reason) }
    guard prefix.shape.submoduleCount ?? 1 == 1 else {
      throw refuse("num_transformer_submodules is not 1: the adapter is for a model with encoder and decoder")
    }
    self.init(count: prefix.shape.virtualTokenCount)
    leaveOut = prefix.leaveOut
  }

  /// Numbers of the layers that have a prefix.
  func layers(in model: LanguageModel) -> [Int] { model.attentions.indices.filter { !leaveOut.contains($0) } }

  public var virtualTokenCount: Int { count }
  public var startTokenCount: Int { startTokens.isEmpty ? 0 : count }

  /// Columns of a layer's keys.
  /// - Throws: `AdapterError` where layers differ
  func width(in model: LanguageModel) throws -> Int {
    let attentions = model.attentions
    let widths = Set(attentions.map { $0.shape.keyValueHeadCount * $0.shape.headSize })
    guard let width = widths.first, widths.count == 1 else {
      throw AdapterError.unsuitableModel("prefix tuning needs keys of one size in all layers; this model's differ")
    }
    return width
  }

  public func reserve(for model: LanguageModel, in room: TuningRoom) throws -> any TuningMethod {
    try PrefixMethod(configuration: self, model: model, in: room)
  }

  public func floatProducts(for model: LanguageModel) throws -> Double {
    let shapes = model.attentions.map(\.shape)
    return layers(in: model).reduce(0) { $0 + 2 * Double(count * shapes[$1].headCount * shapes[$1].headSize) }
  }

  public func smaller(for model: LanguageModel) -> [(option: String, configuration: any TuningConfiguration)] {
    guard count > 1 else { return [] }
    var changed = self
    changed.count = count / 2
    return [("--num-virtual-tokens \(count / 2)", changed)]
  }

  public var identity: [(String, String)] {
    var words = [
      ("virtual_tokens", "\(count)"), ("projection", hasProjection && encoder == .lstm ? "lstm" : "\(hasProjection)"),
      ("encoder", encoderSize.map { "\($0)" } ?? "default"),
    ]
    if !leaveOut.isEmpty {
      words.append(("layers without a prefix", leaveOut.map { "\($0)" }.joined(separator: ",")))
    }
    return words
  }
}
