import Formats

/// What a model is asked for; the names are Hugging Face's.
public enum ModelTask: String, Sendable, CaseIterable {
  case sequenceClassification = "seq_cls"
  case tokenClassification = "token_cls"
  case causalLM = "causal_lm"

  /// How `architectures` ends for it.
  public var classEnding: String {
    switch self {
    case .sequenceClassification: "ForSequenceClassification"
    case .tokenClassification: "ForTokenClassification"
    case .causalLM: "ForCausalLM"
    }
  }

  /// `task_type` of an adapter.
  public var adapterName: String {
    switch self {
    case .sequenceClassification: "SEQ_CLS"
    case .tokenClassification: "TOKEN_CLS"
    case .causalLM: "CAUSAL_LM"
    }
  }
}

/// What the labels of a text are; the names are `problem_type` in config.json.
public enum ProblemType: String, Sendable, CaseIterable {
  /// One of several.
  case singleLabel = "single_label_classification"
  /// Each may hold or not.
  case multiLabel = "multi_label_classification"
  /// Numbers.
  case regression
}

/// What a model says of a text or of each of its tokens: the task, the kind of the labels, and their names by id.
public struct Labelling: Sendable, Equatable {
  /// `sequenceClassification` or `tokenClassification`.
  public var task: ModelTask
  public var problem: ProblemType
  /// Names by id; for numbers, a name for each.
  public var labels: [String]

  public init(task: ModelTask, problem: ProblemType = .singleLabel, labels: [String]) {
    precondition(task != .causalLM && !labels.isEmpty, "labels of a text or of tokens")
    self.task = task
    self.problem = problem
    self.labels = labels
  }

  /// The name that transformers gives a label without one.
  public static func defaultName(_ id: Int) -> String { "LABEL_\(id)" }

  /// Whether nobody has named the labels.
  public var hasDefaultNames: Bool { labels.indices.allSatisfy { labels[$0] == Self.defaultName($0) } }

  /// The most labels that a model may have.
  public static let most = 65_536
}

extension Labelling {
  /// What a `config.json` says of a model's labels; `nil` where its architecture has none.
  static func of(_ reader: ConfigurationReader) throws -> Labelling? {
    let names = reader["architectures"]?.arrayValue?.compactMap(\.stringValue) ?? []
    guard
      let task = [ModelTask.sequenceClassification, .tokenClassification].first(where: { task in
        names.contains { $0.hasSuffix(task.classEnding) }
      })
    else { return nil }
    let labels = try labels(reader)
    let fallback: ProblemType = labels.count == 1 && task == .sequenceClassification ? .regression : .singleLabel
    let name = try reader.text("problem_type", default: fallback.rawValue)
    guard let problem = ProblemType(rawValue: name) else {
      throw reader.refuse(
        "problem_type \(name) is not supported; supported are "
          + ProblemType.allCases.map(\.rawValue).joined(separator: ", "))
    }
    return Labelling(task: task, problem: task == .tokenClassification ? .singleLabel : problem, labels: labels)
  }

  private static func labels(_ reader: ConfigurationReader) throws -> [String] {
    if let names = reader["id2label"]?.objectValue, !names.entries.isEmpty {
      guard names.entries.count <= most else { throw reader.refuse("id2label has more than \(most) labels") }
      return try (0..<names.entries.count).map { id in
        let value = names["\(id)"]
        // A number is a name too, such as one to five stars.
        guard let name = value?.stringValue ?? value?.intValue.map(String.init) else {
          throw reader.refuse("id2label does not name \(id) of \(names.entries.count) labels")
        }
        return name
      }
    }
    return (0..<(try reader.integer("num_labels", 1...most, default: 2))).map(defaultName)
  }

  /// `config.json` of a model with such a head.
  public func configuration(_ base: JSONValue, family: Family) -> JSONValue {
    var object = base.objectValue ?? JSONObject()
    object["architectures"] = .array([.string(family.stem + task.classEnding)])
    object["id2label"] = .object(
      JSONObject(labels.enumerated().map { ("\($0)", .string($1)) }))
    object["label2id"] = .object(JSONObject(labels.enumerated().map { ($1, .integer($0)) }))
    object["problem_type"] = task == .sequenceClassification ? .string(problem.rawValue) : nil
    return .object(object)
  }
}

/// How hidden states become the numbers that a text or a token gets for each label: dense layers in floats, trained whole.
public struct LabelHeadDescription: Sendable, Equatable {
  /// What follows a dense layer.
  public enum Activation: Sendable, Equatable { case none, tanh, relu }

  public struct Layer: Sendable, Equatable {
    public let linear: LinearDescription
    public let activation: Activation
  }

  public let labelling: Labelling
  /// What follows the frozen projection in front of the layers: `tanh` after BERT's pooler.
  public let projectionActivation: Activation
  public let layers: [Layer]

  /// Every weight of the layers.
  var tensors: [TensorDescription] { layers.flatMap { [$0.linear.weight] + ($0.linear.bias.map { [$0] } ?? []) } }
}

extension HeadDescription {
  /// The head with labels that transformers gives the family: `hidden` features become a number for each label.
  func labelled(_ labelling: Labelling, family: Family, reader: ConfigurationReader, hidden: Int) throws
    -> HeadDescription
  {
    let count = labelling.labels.count
    func layer(_ path: String, out: Int = count, hasBias: Bool = true, _ activation: LabelHeadDescription.Activation)
      -> LabelHeadDescription.Layer
    {
      LabelHeadDescription.Layer(
        linear: LinearDescription(path, out: out, in: hidden, hasBias: hasBias, isQuantized: false),
        activation: activation)
    }
    let isSequence = labelling.task == .sequenceClassification
    var head = self
    head.weight = nil
    head.isTied = false
    var activation = LabelHeadDescription.Activation.none
    let layers: [LabelHeadDescription.Layer]
    switch (family, isSequence) {
    case (.bert, true):
      head.projection = LinearDescription(BERT.pooler, out: hidden, in: hidden, hasBias: true)
      activation = .tanh
      layers = [layer("classifier", .none)]
    case (.roberta, true), (.xlmRoberta, true):
      layers = [layer("classifier.dense", out: hidden, .tanh), layer("classifier.out_proj", .none)]
    case (.distilBERT, true): layers = [layer("pre_classifier", out: hidden, .relu), layer("classifier", .none)]
    case (.bert, false), (.roberta, false), (.xlmRoberta, false), (.distilBERT, false), (.gpt2, false),
      (.gptNeoX, false):
      layers = [layer("classifier", .none)]
    case (.opt, false), (.gemma3, false):
      throw reader.refuse("\(ModelTask.tokenClassification.rawValue) is not defined for \(family.architecture)")
    case (_, true): layers = [layer("score", hasBias: false, .none)]
    case (_, false): layers = [layer("score", .none)]
    }
    head.labels = LabelHeadDescription(labelling: labelling, projectionActivation: activation, layers: layers)
    return head
  }
}
