/// `head_config.json` beside an adapter of AdapterHub's `adapters`: of which class the model is whose head lies in
/// `model_head.safetensors`, and what its labels are called.
///
/// Source: `PredictionHeadLoader` of adapters 1.3, for models of transformers' own classes.
public struct AdapterHubHead: Sendable, Equatable {
  /// `BertForSequenceClassification`, ...
  public var modelClass: String
  public var modelType: String
  public var modelName: String?
  public var hiddenSize: Int?
  /// By id.
  public var labels: [String]

  /// PEFT's name of what such a model does; `nil` where it says no labels.
  public var taskType: String? {
    modelClass.hasSuffix("ForSequenceClassification")
      ? "SEQ_CLS" : modelClass.hasSuffix("ForTokenClassification") ? "TOKEN_CLS" : nil
  }

  public init(modelClass: String, modelType: String, modelName: String?, hiddenSize: Int?, labels: [String]) {
    self.modelClass = modelClass
    self.modelType = modelType
    self.modelName = modelName
    self.hiddenSize = hiddenSize
    self.labels = labels
  }

  public static let fileName = "head_config.json"

  /// - Throws: `UnsupportedAdapter`
  public init(json: JSONValue, file: String) throws {
    var fields = try PEFTFields(json, file: file)
    if fields.value("config") != nil {
      throw fields.refuse(
        "the head is one of AdapterHub's own; save the adapter from a model of transformers' classes, or without the head"
      )
    }
    guard let modelClass = try fields.text("model_class") else { throw fields.refuse("model_class is missing") }
    self.modelClass = modelClass
    modelType = try fields.text("model_type") ?? ""
    modelName = try fields.text("model_name")
    hiddenSize = try fields.integer("hidden_size", in: 1...1 << 20)
    let named = fields.value("label2id")?.objectValue?.entries ?? []
    let count = try fields.integer("num_labels", in: 1...1 << 16) ?? named.count
    guard count > 0 else { throw fields.refuse("neither label2id nor num_labels says what the labels are") }
    var labels = (0..<count).map { "LABEL_\($0)" }
    for (name, id) in named {
      guard let id = id.intValue, labels.indices.contains(id) else {
        throw fields.refuse("label2id gives \(name.prefix(60)) the id \(id.serialized().prefix(60)) of \(count)")
      }
      labels[id] = name
    }
    guard Set(labels).count == count else {
      throw fields.refuse("label2id leaves two of \(count) labels with one name")
    }
    self.labels = labels
  }

  public static func load(directory: String) throws -> AdapterHubHead {
    let path = "\(directory)/\(fileName)"
    return try AdapterHubHead(json: try JSONValue.parse(contentsOf: path), file: path)
  }

  public var json: JSONValue {
    .object(
      JSONObject([
        ("config", .null), ("hidden_size", .optional(hiddenSize)),
        ("label2id", .object(JSONObject(labels.enumerated().map { ($1, .integer($0)) }))),
        ("model_class", .string(modelClass)), ("model_name", .optional(modelName)), ("model_type", .string(modelType)),
        ("name", .null), ("num_labels", .integer(labels.count)), ("version", .string(AdapterHubConfiguration.version)),
      ]))
  }

  public func write(to directory: String) throws {
    try OutputFile.write(json.serialized(pretty: true) + "\n", to: "\(directory)/\(Self.fileName)")
  }
}
