import Formats
import Memory
import Transformer

/// A folder with a trained adapter, of whatever method.
public enum AdapterFolder {
  /// The configuration that its `adapter_config.json` has.
  public static func configuration(of directory: String) throws -> any TuningConfiguration {
    let above = try configurationAlone(of: directory)
    guard let frozen = try AdapterUnion.beneath(directory) else { return above }
    return CombinedConfiguration.of(
      (above as? CombinedConfiguration)?.parts ?? [.init(name: "adapter", configuration: above)], on: frozen)
  }

  private static func configurationAlone(of directory: String) throws -> any TuningConfiguration {
    try checkFolder(directory)
    let file = "\(directory)/\(PEFTConfiguration.fileName)"
    let json = try JSONValue.parse(contentsOf: file)
    let pickle = "\(directory)/adapter_model.bin"
    if !isFile("\(directory)/\(TrainableFiles.weightsName)"), isFile(pickle) {
      throw UnsupportedAdapter(
        file: pickle,
        reason: "expected \(TrainableFiles.weightsName); where Python has them: "
          + "safetensors.torch.save_file(torch.load(FILE, map_location=\"cpu\"), \"\(TrainableFiles.weightsName)\")")
    }
    if MixtureConfiguration.isOne(json) {
      return try MixtureConfiguration(json: json, directory: directory, file: file)
    }
    guard AdapterHubConfiguration.isOne(json) else { return try peft(json, file: file) }
    let bottleneck = try BottleneckConfiguration(AdapterHubConfiguration(json: json, file: file), file: file)
    var parts = [CombinedConfiguration.Part(name: "bottleneck", configuration: bottleneck)]
    if let second = AdapterUnion.second(in: json) {
      let parallel = try BottleneckConfiguration(AdapterHubConfiguration(json: second, file: file), file: file)
      guard parallel.isParallel, !bottleneck.isParallel else {
        throw UnsupportedAdapter(
          file: file, reason: "expected a serial bottleneck in config, and in parallel_adapter a parallel one")
      }
      parts = BottleneckConfiguration.together(serial: bottleneck, parallel: parallel)
    }
    if let type = json["peft_type"] {
      parts.append(
        .init(name: type.stringValue?.lowercased() ?? "adapter", configuration: try peft(json, file: file)))
    }
    return CombinedConfiguration.of(parts)
  }

  /// - Throws: where a file is given, such as a GGUF LoRA
  static func checkFolder(_ path: String) throws {
    guard isFile(path) else { return }
    throw AdapterError.unsuitableModel(
      "\(path): is a file, expected the folder of an adapter; a GGUF LoRA is evaluated, merged or used alone and without a "
        + "weight")
  }

  private static func isFile(_ path: String) -> Bool {
    if case .other = try? PathKind(path) { return true }
    return false
  }

  /// Names of the files that an adapter of some method consists of.
  public static let fileNames = [
    PEFTConfiguration.fileName, TrainableFiles.weightsName, HeadTrainables.fileName, AdapterHubHead.fileName,
    AdapterHubInterface.fileName, BottleneckMethod.weightsName, BottleneckMethod.secondWeightsName,
    BottleneckMethod.headName,
  ]

  /// The configuration of one of PEFT's methods.
  private static func peft(_ json: JSONValue, file: String) throws -> any TuningConfiguration {
    switch try PEFTConfiguration(json: json, file: file) {
    case .lora(let lora): return try LowRankConfiguration(lora, file: file)
    case .ia3(let ia3): return try ScalingConfiguration(ia3, file: file)
    case .prefixTuning(let prefix): return try PrefixConfiguration(prefix, file: file)
    case .promptTuning(let prompt): return try PromptConfiguration(prompt, file: file)
    case .pTuning(let prompt): return try PromptConfiguration(prompt, file: file)
    }
  }

  /// Tells the weights of one of PEFT's adapters from others.
  public static func weightsChecksum(of directory: String) throws -> String {
    try FileChecksum(of: "\(directory)/\(TrainableFiles.weightsName)").text
  }

  /// Whether adapters are LoRA, all of them, and nothing besides: such can be summed.
  public static func areLowRank(_ directories: [String]) throws -> Bool {
    try directories.allSatisfy { directory in
      try checkFolder(directory)
      let json = try JSONValue.parse(contentsOf: "\(directory)/\(PEFTConfiguration.fileName)")
      return json["peft_type"]?.stringValue == "LORA" && !AdapterHubConfiguration.isOne(json)
    }
  }

  /// The method of a folder with its parameters, for use without training; the arena owns its memory.
  public static func open(_ directory: String, for model: LanguageModel) throws -> (
    arena: Arena, method: any TuningMethod
  ) {
    let configuration = try configuration(of: directory)
    let (arena, method) = try Arena.filled {
      try configuration.reserve(for: model, in: TuningRoom(arena: $0, trainingTokens: 0))
    }
    try method.load(from: directory)
    return (arena, method)
  }
}
