import Architectures
import Formats
import Kernels
import Memory
import Transformer

/// The hyper-parameters of bottleneck adapters, with the meaning of AdapterHub's `adapters`.
public struct BottleneckConfiguration: TuningConfiguration, Equatable {
  /// Where bottlenecks stand, by AdapterHub's names.
  public enum Kind: String, Sendable, CaseIterable {
    /// After each feed-forward block (Pfeiffer et al. 2020, arXiv 2005.00052).
    case sequential = "seq_bn"
    /// After each attention and each feed-forward block, before the residual (Houlsby et al. 2019, arXiv 1902.00751).
    case doubleSequential = "double_seq_bn"
    /// Beside each feed-forward block (He et al. 2021, arXiv 2110.04366).
    case parallel = "par_bn"
  }

  /// AdapterHub's names of activation functions.
  public enum NonLinearity: String, Sendable, CaseIterable {
    case relu, swish, silu, gelu
    case geluTanh = "gelu_new"

    var activation: Activation {
      switch self {
      case .relu: .relu
      case .swish, .silu: .silu
      case .gelu: .gelu
      case .geluTanh: .geluTanh
      }
    }
  }

  var file: AdapterHubConfiguration
  let source: BlockAdapterSource
  let nonLinearity: NonLinearity
  let scaling: Double
  /// The option that says how narrow it is.
  public var factorOption = "reduction-factor"
  /// Whether it is a parallel one whose folder holds another one besides, under the names that AdapterHub has.
  private(set) var isSecond = false

  /// - Parameters:
  ///   - reductionFactor: the kind's own if `nil`, and so on
  ///   - leaveOut: layers without a bottleneck
  ///   - name: in the names of its tensors
  public init(
    kind: Kind = .sequential, reductionFactor: Double? = nil, nonLinearity: NonLinearity? = nil,
    scaling: Double? = nil, leaveOut: [Int] = [], name: String = "adapter"
  ) {
    let fallback: NonLinearity
    switch kind {
    case .sequential:
      file = .sequential(name: name, modelType: "", reductionFactor: reductionFactor ?? 16)
      (source, fallback) = (.output, .relu)
    case .doubleSequential:
      file = .doubleSequential(name: name, modelType: "", reductionFactor: reductionFactor ?? 16)
      (source, fallback) = (.inner, .swish)
    case .parallel:
      file = .parallel(name: name, modelType: "", reductionFactor: reductionFactor ?? 2)
      (source, fallback) = (.input, .relu)
    }
    self.nonLinearity = nonLinearity ?? fallback
    self.scaling = scaling ?? (kind == .parallel ? 4 : 1)
    file.nonLinearity = self.nonLinearity.rawValue
    file.scaling = .fixed(self.scaling)
    file.leaveOut = leaveOut
  }

  /// A serial bottleneck and a parallel one at once (Zhou et al. 2023, arXiv 2301.12132): each reads what the block has without
  /// the other one, and both add to its sum.
  public static func together(
    serial: BottleneckConfiguration, parallel: BottleneckConfiguration
  ) -> [CombinedConfiguration.Part] {
    precondition(parallel.isParallel && !serial.isParallel, "one of each")
    var second = parallel
    second.isSecond = true
    return [
      .init(name: "bottleneck", configuration: serial), .init(name: "parallel bottleneck", configuration: second),
    ]
  }

  /// Whether it stands beside the block.
  public var isParallel: Bool { file.isParallel }

  /// For people: where, how narrow, and what is left out.
  var text: String {
    let kind: Kind = file.isParallel ? .parallel : file.afterAttention ? .doubleSequential : .sequential
    let factor: String =
      switch file.reductionFactor {
      case .all(let factor): Self.text(factor)
      case .perLayer: "by layer"
      }
    let off = file.leaveOut.isEmpty ? "" : ", not in layers \(file.leaveOut.map { "\($0)" }.joined(separator: ","))"
    return "\(kind.rawValue), reduction factor \(factor), \(nonLinearity.rawValue)\(off)"
  }

  /// A reduction factor as it is given: without a fraction if it is whole.
  private static func text(_ factor: Double) -> String { Int(exactly: factor).map { "\($0)" } ?? "\(factor)" }

  /// - Parameter path: where errors point to
  init(_ file: AdapterHubConfiguration, file path: String) throws {
    func refuse(_ reason: String) -> UnsupportedAdapter { .init(file: path, reason: reason) }
    guard let nonLinearity = NonLinearity(rawValue: file.nonLinearity.lowercased()) else {
      throw refuse("non_linearity \(file.nonLinearity) is not supported")
    }
    guard case .fixed(let scaling) = file.scaling else { throw refuse("a scaling that is trained is not supported") }
    if file.normBefore || file.normAfter { throw refuse("ln_before and ln_after are not supported") }
    if file.dropout > 0 { throw refuse("dropout is not supported") }
    if let other = file.others.entries.first { throw refuse("\(other.key) is not supported") }
    guard file.originalNormAfter, file.residualBeforeNorm, !file.adapterResidualBeforeNorm else {
      throw refuse("expected original_ln_after and residual_before_ln true, adapter_residual_before_ln false")
    }
    self.file = file
    self.nonLinearity = nonLinearity
    self.scaling = scaling
    source = file.isParallel ? .input : file.originalNormBefore ? .output : .inner
  }

  /// A bottleneck that is to be made.
  struct Place {
    let location: LinearLocation
    /// What its tensors' names begin with.
    let name: String
    let width: Int
  }

  func places(in model: LanguageModel) throws -> [Place] {
    try model.blocksForAdapters.enumerated().flatMap { layer, blocks -> [Place] in
      if file.leaveOut.contains(layer) { return [] }
      let hidden = blocks.attention.shape.out
      guard let factor = file.reductionFactor.of(layer: layer) else {
        throw AdapterError.unsuitableModel("reduction_factor has none for layer \(layer), and no default")
      }
      let width = max(1, Int(Double(hidden) / factor))
      let wanted = [
        (file.afterAttention, blocks.attention, "attention_adapters"),
        (file.afterFeedForward, blocks.feedForward, "output_adapters"),
      ]
      return wanted.filter(\.0).map { _, location, part in
        let path = Self.path(location.name, part, family: model.description.family)
        return Place(location: location, name: "\(path).adapters.\(file.name).", width: width)
      }
    }
  }

  /// The module in which AdapterHub keeps the adapters of the block that ends with the linear layer `name`.
  private static func path(_ name: String, _ part: String, family: Family) -> String {
    let parts = name.split(separator: ".")
    switch family {
    case .bert, .roberta, .xlmRoberta:
      // `bert.encoder.layer.3.output` of `bert.encoder.layer.3.output.dense`
      return parts.dropLast().joined(separator: ".")
    default:
      // `model.layers.3.output_adapters` of `model.layers.3.mlp.down_proj`
      return parts[...(parts.firstIndex { Int($0) != nil } ?? 0)].joined(separator: ".") + "." + part
    }
  }

  public func reserve(for model: LanguageModel, in room: TuningRoom) throws -> any TuningMethod {
    try BottleneckMethod(configuration: self, model: model, in: room)
  }

  public func floatProducts(for model: LanguageModel) throws -> Double {
    try places(in: model).reduce(0) { $0 + 2 * Double($1.width * $1.location.shape.out) }
  }

  public func smaller(for model: LanguageModel) -> [(option: String, configuration: any TuningConfiguration)] {
    guard case .all(let factor) = file.reductionFactor else { return [] }
    var changed = self
    changed.file.reductionFactor = .all(2 * factor)
    return [("--\(factorOption) \(Self.text(2 * factor))", changed)]
  }

  public var identity: [(String, String)] { [("adapter", file.json.serialized())] }
}
