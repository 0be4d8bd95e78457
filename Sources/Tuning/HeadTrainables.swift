import Architectures
import Formats
import FoundationEssentials
import Glibc
import Kernels
import Memory
import Randomness
import Transformer

/// The layers of a head with labels, which are trained whole beside whatever a method trains: what PEFT calls
/// `modules_to_save`.
struct HeadTrainables {
  /// Deviation of new weights, as transformers makes them.
  private static let deviation = 0.02

  let layers: [LabelLayer]
  let labelling: Labelling
  /// `config.json` of the model with this head.
  let configuration: JSONValue

  /// `nil` for a model without such a head.
  init?(_ model: LanguageModel) throws {
    guard let head = model.labelHead, let labelling = model.description.labelling else { return nil }
    layers = head.layers
    self.labelling = labelling
    configuration = labelling.configuration(
      model.store.configurationJSON, family: model.description.family)
  }

  /// PEFT's names: `base_model.model.classifier.weight`.
  ///
  /// - Parameter vectorRate: factor of the biases' learning rate
  func wishes(vectorRate: Double) -> [Trainables.Wish] {
    layers.flatMap { layer in
      [Trainables.Wish("base_model.model.\(layer.path).weight", rows: layer.outputSize, columns: layer.inputSize)]
        + (layer.hasBias
          ? [
            Trainables.Wish(
              "base_model.model.\(layer.path).bias", rows: 1, columns: layer.outputSize, isVector: true,
              learningRateFactor: vectorRate)
          ]
          : [])
    }
  }

  /// Pairs of each layer with its entries, in the order of `wishes`.
  private func pairs(_ entries: ArraySlice<Trainable>) -> [(layer: LabelLayer, weight: Trainable, bias: Trainable?)] {
    var rest = entries
    return layers.compactMap { layer in
      guard let weight = rest.popFirst() else { return nil }
      return (layer, weight, layer.hasBias ? rest.popFirst() : nil)
    }
  }

  /// Makes the model compute with these parameters.
  func attach(_ entries: ArraySlice<Trainable>) {
    for (layer, weight, bias) in pairs(entries) {
      layer.use(
        LabelLayer.Trained(
          weight: weight.matrix, weightGradient: weight.gradient, bias: bias?.matrix, biasGradient: bias?.gradient))
    }
  }

  /// What training begins with: the checkpoint's parameters, else normal weights and no biases.
  func initialize(_ entries: ArraySlice<Trainable>, seed: UInt64) {
    for (index, (layer, weight, bias)) in pairs(entries).enumerated() {
      if layer.isInCheckpoint {
        weight.assign(layer.weight.elements.values)
        if let bias, let values = layer.bias?.elements.values { bias.assign(values) }
        continue
      }
      var generator = SplitMix64(seed: seed ^ 0xC1A5_51F1_E4 &+ UInt64(index) &* 0xD1B5_4A32_D192_ED03)
      func uniform() -> Double { (Double(generator.next() >> 11) + 0.5) / Double(1 << 53) }
      weight.assign(
        (0..<weight.count).map { _ in
          Float(Self.deviation * (-2 * log(uniform())).squareRoot() * cos(2 * Double.pi * uniform()))
        })
      if let bias { VectorOperations.fill(bias.matrix, with: 0) }
    }
  }

  /// `config.json` beside the adapter: PEFT's own file has no room for the names of labels.
  func save(to directory: String) throws {
    try OutputFile.write(configuration.serialized(pretty: true) + "\n", to: "\(directory)/\(Self.fileName)")
  }

  static let fileName = "config.json"
}

extension Trainables {
  /// The matrices of a method and, behind them, those of the model's head, if it has one that is trained.
  ///
  /// - Parameter headVectorRate: factor of the learning rate of the head's biases
  public init(_ wishes: [Wish], of model: LanguageModel, in room: TuningRoom, headVectorRate: Double = 1) throws {
    let layers = try HeadTrainables(model)
    let head = room.includesHead ? layers : nil
    self.init(wishes + (head?.wishes(vectorRate: headVectorRate) ?? []), in: room)
    self.head = head
    headStart = wishes.count
    task = model.description.labelling?.task ?? .causalLM
    let wrapped = "base_model.model."
    headElsewhere =
      head == nil ? (layers?.wishes(vectorRate: 1) ?? []).map { String($0.name.dropFirst(wrapped.count)) } : []
  }

  /// Whether a tensor of a file is the head of an adapter that was trained alone, where another one's is used.
  func isOtherHead(_ name: String) -> Bool { headElsewhere.contains { name.hasSuffix(".\($0)") } }

  /// Makes the model's head compute with these parameters.
  public func attachHead() { head?.attach(entries[headStart...]) }

  /// What training of the head begins with; reproducible from `seed`.
  public func initializeHead(seed: UInt64) { head?.initialize(entries[headStart...], seed: seed) }

  /// Writes what the files of the method do not say of the head.
  public func saveHead(to directory: String) throws { try head?.save(to: directory) }

  /// What the files of PEFT's methods say alike: the model, its task, and the head that is trained whole.
  func common(baseModel: String) -> PEFTCommon {
    PEFTCommon(
      baseModel: baseModel, taskType: task.adapterName,
      modulesToSave: head == nil ? [] : Family.headModules)
  }

  /// The matrices of the head, which are none of the method's.
  var headEntries: [Trainable] { head == nil ? [] : Array(entries[headStart...]) }
  /// Those of the method.
  var methodEntries: [Trainable] { head == nil ? entries : Array(entries[..<headStart]) }

  /// The head's parameters in place of a checkpoint's, by the names of the model's weights.
  public var headValues: [String: [Float]] {
    guard head != nil else { return [:] }
    return Dictionary(
      uniqueKeysWithValues: entries[headStart...].map {
        (String($0.name.dropFirst("base_model.model.".count)), $0.values)
      })
  }

  /// `config.json` of the model with this head; `nil` for a model without one.
  public var headConfiguration: JSONValue? { head?.configuration }

  /// Last parts of the names of the head's layers.
  var headNames: Set<String> {
    Set(head?.layers.compactMap { $0.path.split(separator: ".").last.map(String.init) } ?? [])
  }
}

extension AdapterFolder {
  /// What an adapter's model says of texts or tokens: by the `config.json` beside it, else by the adapter's task and the rows
  /// of its head; `nil` for one that goes on with texts.
  ///
  /// - Parameter base: the model's own description
  public static func labelling(of directory: String, base: ModelDescription) throws -> Labelling? {
    let path = "\(directory)/\(PEFTConfiguration.fileName)"
    let adapter = FileManager.default.fileExists(atPath: path) ? try JSONValue.parse(contentsOf: path) : nil
    let isHub = adapter.map(AdapterHubConfiguration.isOne) ?? false
    // Whatever else lies beside it.
    if adapter?["task_type"]?.stringValue == "CAUSAL_LM", !isHub { return nil }
    let file = "\(directory)/\(HeadTrainables.fileName)"
    if FileManager.default.fileExists(atPath: file) {
      let json = try JSONValue.parse(contentsOf: file)
      if let found = try ModelDescription(json: json, file: file).labelling { return found }
    }
    guard let json = adapter else { return nil }
    if isHub { return try labellingOfHub(directory, base: base) }
    let type = PEFTCommon.taskType(of: json)
    guard let task = [ModelTask.sequenceClassification, .tokenClassification].first(where: { $0.adapterName == type })
    else { return nil }
    let weights = try SafetensorsFile(path: "\(directory)/\(TrainableFiles.weightsName)")
    // Prompts are not wrapped, and their head is not either.
    let names = ["classifier.out_proj", "classifier", "score"].flatMap {
      ["base_model.model.\($0).weight", "base_model.\($0).weight"]
    }
    guard let rows = names.lazy.compactMap({ weights.tensor($0)?.shape.first }).first,
      (1...Labelling.most).contains(rows)
    else {
      // The head of such a model may be the checkpoint's.
      if json["task_type"]?.stringValue == nil { return nil }
      throw AdapterError.missingTensor(file: weights.path, tensor: names[2])
    }
    if let own = base.labelling, own.task == task, own.labels.count == rows { return own }
    let isNumber = rows == 1 && task == .sequenceClassification
    return Labelling(
      task: task, problem: isNumber ? .regression : .singleLabel, labels: (0..<rows).map(Labelling.defaultName))
  }

  /// What AdapterHub's file beside a head says.
  private static func labellingOfHub(_ directory: String, base: ModelDescription) throws -> Labelling? {
    let file = "\(directory)/\(AdapterHubHead.fileName)"
    guard FileManager.default.fileExists(atPath: file) else { return nil }
    let head = try AdapterHubHead.load(directory: directory)
    let tasks = [ModelTask.sequenceClassification, .tokenClassification]
    // What goes on with texts has its head from the base.
    guard let task = tasks.first(where: { $0.adapterName == head.taskType }) else { return nil }
    if let own = base.labelling, own.task == task, own.labels == head.labels { return own }
    let isNumber = head.labels.count == 1 && task == .sequenceClassification
    return Labelling(task: task, problem: isNumber ? .regression : .singleLabel, labels: head.labels)
  }
}
