import Kernels
import Options
import Planning
import Transformer

/// What a run may use, and what the user wants of its plan.
public struct PlanOptions: Sendable {
  /// Bytes of the whole process; `nil` for what is free.
  public var maximumMemory: Int?
  public var wishes = StrategyWishes()
  public var precision: Precision
  public var threads: Int?

  static let declarations: [OptionDeclaration] = [
    .init("max-mem", "SIZE", "memory of the whole process, such as 512M or 4G (default: what is free)"),
    .init("plan", "FILE", default: "auto", "use the plan in FILE, as plan --json prints it, instead of the fastest"),
    .init("layer-inputs", "KIND", "keep layer inputs as f32, spilled (to a file), bf16 or int8 (both lossy)"),
    .init(
      "optimizer-moments", "KIND",
      "keep AdamW's moments as f32 or int8 (lossy; as --optim adamw_8bit)"),
    .init("keep-layers", "N", "keep the activations of so many layers; the others are computed again"),
    .init("resident-layers", "N", "keep the weights of so many layers in memory; the others pass through"),
    .init("precision", "KIND", default: "int8", identifies: true, "int8, or f32 for the reference"),
    .init("threads", "N", "worker threads (default: one per processor)"),
  ]

  init(_ values: OptionValues) throws {
    maximumMemory = try values.size("max-mem")
    let plan = values.text("plan")
    wishes.planFile = plan == "auto" ? nil : plan
    wishes.layerInputs = try values.optionalChoice("layer-inputs", LayerInputFormat.self)
    wishes.optimizerMoments = try values.optionalChoice("optimizer-moments", MomentFormat.self)
    wishes.keptLayers = try values.optionalNumber("keep-layers", in: 0...100_000)
    wishes.residentLayers = try values.optionalNumber("resident-layers", in: 0...100_000)
    precision = try values.choice("precision", Precision.self)
    threads = try values.threads()
  }
}
