/// The configuration of (IA)³: a factor for every output of some layers, for every input of feed-forward ones.
///
/// Source: `IA3Config` of PEFT 0.21; Liu et al. 2022, arXiv 2205.05638.
public struct PEFTIA3: Sendable, Equatable {
  public var common: PEFTCommon
  public var targetModules: PEFTModules?
  public var excludeModules: PEFTModules?
  /// Those of the targets whose inputs are scaled.
  public var feedforwardModules: PEFTModules?
  public var fanInFanOut = false
  /// Whether the factors start at 1.
  public var startsAtOne = true
  /// What else the file states with an effect.
  public var others = JSONObject()

  public init(targetModules: PEFTModules?, feedforwardModules: PEFTModules?, common: PEFTCommon = PEFTCommon()) {
    self.targetModules = targetModules
    self.feedforwardModules = feedforwardModules
    self.common = common
  }

  init(_ fields: inout PEFTFields) throws {
    common = try PEFTCommon(&fields)
    targetModules = try fields.modules("target_modules")
    excludeModules = try fields.modules("exclude_modules")
    feedforwardModules = try fields.modules("feedforward_modules")
    fanInFanOut = try fields.flag("fan_in_fan_out")
    startsAtOne = try fields.flag("init_ia3_weights", default: true)
    if case .names(let inner)? = feedforwardModules, case .names(let targets)? = targetModules,
      let name = inner.first(where: { !targets.contains($0) })
    {
      throw fields.refuse("feedforward_modules names \(name), which target_modules does not")
    }
    others = fields.others(without: ["auto_mapping", "peft_type", "peft_version", "runtime_config"])
  }

  var entries: [(key: String, value: JSONValue)] {
    let own: [(key: String, value: JSONValue)] = [
      ("exclude_modules", excludeModules?.json ?? .null), ("fan_in_fan_out", .bool(fanInFanOut)),
      ("feedforward_modules", feedforwardModules?.json ?? .null), ("init_ia3_weights", .bool(startsAtOne)),
      ("target_modules", targetModules?.json ?? .null),
    ]
    return common.entries + others.entries + own
  }
}
