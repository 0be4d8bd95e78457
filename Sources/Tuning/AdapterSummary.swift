import Formats
import FoundationEssentials

/// What an adapter's folder says of itself.
public struct AdapterSummary: Sendable {
  /// Name and value, in the order for people.
  public let lines: [(name: String, value: String)]

  public init(of directory: String) throws {
    try AdapterFolder.checkFolder(directory)
    let file = "\(directory)/\(PEFTConfiguration.fileName)"
    let json = try JSONValue.parse(contentsOf: file)
    let isHub = AdapterHubConfiguration.isOne(json)
    var lines: [(String, String)] = []
    func add(_ name: String, _ value: String?) {
      if let value, !value.isEmpty { lines.append((name, value)) }
    }
    if MixtureConfiguration.isOne(json) {
      add("method", "mixture")
      add("base", json["base_model_name_or_path"]?.stringValue)
    } else if isHub {
      var methods = ["bottleneck"]
      if AdapterUnion.second(in: json) != nil { methods.append("parallel bottleneck") }
      if let type = json["peft_type"]?.stringValue { methods.append(type.lowercased()) }
      add("method", Self.list(methods))
      add("base", json["model_name"]?.stringValue)
    } else {
      let method = try PEFTConfiguration(json: json, file: file)
      add("method", Self.name(method))
      add("base", method.common.baseModel)
    }
    let configuration = try AdapterFolder.configuration(of: directory)
    let parts = (configuration as? CombinedConfiguration)?.parts.map(\.configuration) ?? [configuration]
    for bottleneck in parts.compactMap({ $0 as? BottleneckConfiguration }) {
      add(bottleneck.isParallel ? "parallel" : "serial", bottleneck.text)
    }
    for (name, value) in configuration.identity where name != "adapter" && !name.hasSuffix(" adapter") {
      add(name, value)
    }
    var names = isHub ? [BottleneckMethod.weightsName] : []
    if isHub, AdapterUnion.second(in: json) != nil { names.append(BottleneckMethod.secondWeightsName) }
    if !isHub || json["peft_type"] != nil { names.append(TrainableFiles.weightsName) }
    let files = try names.map { try SafetensorsFile(path: "\(directory)/\($0)") }
    let tensors = files.flatMap { file in file.tensorNames.compactMap { file.tensor($0) } }
    add("parameters", "\(tensors.reduce(0) { $0 + $1.elementCount }) in \(tensors.count) tensors")
    let summary = "\(directory)/summary.json"
    if FileManager.default.fileExists(atPath: summary) {
      let run = try JSONValue.parse(contentsOf: summary)
      add("steps", run["steps"]?.intValue.map { "\($0)" })
      func loss(_ key: String) -> String? { run[key]?.doubleValue.map { "\(($0 * 10_000).rounded() / 10_000)" } }
      add("loss", loss("last_loss"))
      add("evaluation loss", loss("eval_loss"))
    }
    self.lines = lines
  }

  /// `a`, `a and b`, `a, b and c`.
  private static func list(_ words: [String]) -> String {
    words.count < 2 ? words.joined() : words.dropLast().joined(separator: ", ") + " and " + words[words.count - 1]
  }

  private static func name(_ method: PEFTConfiguration) -> String {
    switch method {
    case .lora(let lora): lora.useDoRA ? "dora" : "lora"
    case .ia3: "ia3"
    case .prefixTuning: "prefix_tuning"
    case .promptTuning: "prompt_tuning"
    case .pTuning: "p_tuning"
    }
  }
}
