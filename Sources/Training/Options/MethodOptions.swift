import Options
import Tuning

/// What is trained: the method and its hyper-parameters.
public struct MethodOptions: Sendable {
  public var lowRank: LowRankConfiguration
  /// An adapter to start from, whose configuration counts.
  public var initialAdapter: String?

  static let declarations: [OptionDeclaration] = [
    .init("rank", "N", default: "8", aliases: ["lora-r"], identifies: true, "rank of the adapters"),
    .init(
      "alpha", "X", default: "16", aliases: ["lora-alpha"], identifies: true,
      "the adapters' share is scaled by alpha / rank"),
    .init(
      "dropout", "P", default: "0", aliases: ["lora-dropout"], identifies: true, "dropout on the adapters' input"),
    .init(
      "target-modules", "NAMES", aliases: ["lora-target-modules"], identifies: true,
      "names, all-linear, or a regular expression (default: PEFT's for the model's family, such as q_proj,v_proj)"),
    .init("use-rslora", nil, identifies: true, "scale by alpha / sqrt(rank)"),
    .init("init-adapter", "DIR", "start from this adapter; its rank, alpha and targets are used"),
  ]

  init(_ values: OptionValues) throws {
    lowRank = LowRankConfiguration(
      rank: try values.number("rank", in: 1...1024), alpha: try values.number("alpha", in: 0...1e6),
      dropout: try values.number("dropout", in: 0...0.95),
      targetModules: values.text("target-modules").map { TargetModules($0) } ?? .familyDefault,
      useRSLoRA: values.flag("use-rslora"))
    initialAdapter = values.text("init-adapter")
  }

  /// The configuration that the run trains with.
  func configuration() throws -> any TuningConfiguration {
    try initialAdapter.map { try AdapterFolder.configuration(of: $0) } ?? lowRank
  }
}
