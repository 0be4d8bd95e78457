/// Reads the fields of an adapter's configuration; every refusal names the file and the key.
struct PEFTFields {
  let json: JSONObject
  let file: String
  /// Keys that the program knows, whatever it makes of them.
  private(set) var known: Set<String> = []

  init(_ json: JSONValue, file: String) throws {
    guard let object = json.objectValue else {
      throw UnsupportedAdapter(file: file, reason: "is no JSON object")
    }
    self.json = object
    self.file = file
  }

  func refuse(_ reason: String) -> UnsupportedAdapter { .init(file: file, reason: reason) }

  /// The value, if there is one that is not null.
  mutating func value(_ key: String) -> JSONValue? {
    known.insert(key)
    let value = json[key]
    return value == .null ? nil : value
  }

  private func wrong(_ key: String, _ value: JSONValue, _ expected: String) -> UnsupportedAdapter {
    refuse("\(key) is \(value.serialized().prefix(60)), expected \(expected)")
  }

  mutating func text(_ key: String) throws -> String? {
    guard let value = value(key) else { return nil }
    guard let text = value.stringValue else { throw wrong(key, value, "a text") }
    return text
  }

  mutating func flag(_ key: String, default fallback: Bool = false) throws -> Bool {
    guard let value = value(key) else { return fallback }
    guard let flag = value.boolValue else { throw wrong(key, value, "true or false") }
    return flag
  }

  mutating func integer(_ key: String, in range: ClosedRange<Int>) throws -> Int? {
    guard let value = value(key) else { return nil }
    guard let number = value.intValue, range.contains(number) else {
      throw wrong(key, value, "a whole number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  mutating func number(_ key: String, in range: ClosedRange<Double>) throws -> Double? {
    guard let value = value(key) else { return nil }
    guard let number = value.doubleValue, range.contains(number) else {
      throw wrong(key, value, "a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  /// A list of names, or one name; an empty text or list is none.
  mutating func names(_ key: String) throws -> [String] {
    guard let value = value(key) else { return [] }
    if let name = value.stringValue { return name.isEmpty ? [] : [name] }
    guard let list = value.arrayValue else { throw wrong(key, value, "a list of names") }
    return try list.map {
      guard let name = $0.stringValue else { throw wrong(key, value, "a list of names") }
      return name
    }
  }

  /// A list of whole numbers, or one.
  mutating func integers(_ key: String) throws -> [Int]? {
    guard let value = value(key) else { return nil }
    if let number = value.intValue { return [number] }
    guard let list = value.arrayValue else { throw wrong(key, value, "a list of whole numbers") }
    return try list.map {
      guard let number = $0.intValue, number >= 0, number < 1 << 31 else {
        throw wrong(key, value, "a list of whole numbers")
      }
      return number
    }
  }

  mutating func modules(_ key: String) throws -> PEFTModules? {
    guard let value = value(key) else { return nil }
    if let text = value.stringValue {
      return text.isEmpty ? nil : text.lowercased() == "all-linear" ? .allLinear : .pattern(text)
    }
    let names = try names(key)
    return names.isEmpty ? nil : .names(names)
  }

  mutating func patterns<T>(_ key: String, _ convert: (JSONValue) -> T?) throws -> [PEFTPattern<T>] {
    guard let value = value(key) else { return [] }
    guard let entries = value.objectValue?.entries else { throw wrong(key, value, "patterns of names with numbers") }
    return try entries.map { entry in
      guard let number = convert(entry.value) else { throw wrong("\(key) of \(entry.key)", entry.value, "a number") }
      return PEFTPattern(pattern: entry.key, value: number)
    }
  }

  /// Keys that say something and that the program does not know, in alphabetical order.
  func others(without effect: Set<String>) -> JSONObject {
    JSONObject(
      json.entries.filter { entry in
        !known.contains(entry.key) && !effect.contains(entry.key) && !entry.value.saysNothing
      }.sorted { $0.key < $1.key })
  }
}

extension JSONValue {
  /// Null, false, and what is empty.
  fileprivate var saysNothing: Bool {
    switch self {
    case .null, .bool(false), .string(""): true
    case .array(let values): values.isEmpty
    case .object(let object): object.entries.isEmpty
    default: false
    }
  }

  static func optional(_ text: String?) -> JSONValue { text.map { .string($0) } ?? .null }
  static func optional(_ number: Int?) -> JSONValue { number.map { .integer($0) } ?? .null }
  static func names(_ names: [String]) -> JSONValue { .array(names.map { .string($0) }) }
  static func numbers(_ numbers: [Int]) -> JSONValue { .array(numbers.map { .integer($0) }) }
  /// `null` for an empty list, as PEFT has it.
  static func namesOrNull(_ names: [String]) -> JSONValue { names.isEmpty ? .null : .names(names) }
  /// A whole number without a point.
  static func short(_ number: Double) -> JSONValue {
    number == number.rounded() && abs(number) < 1e15 ? .integer(Int(number)) : .number(number)
  }
}

/// Which modules of a model are meant.
public enum PEFTModules: Sendable, Equatable {
  /// Names of modules, or ends of them.
  case names([String])
  /// A regular expression that the whole name matches.
  case pattern(String)
  /// Every linear layer but the head.
  case allLinear

  var json: JSONValue {
    switch self {
    case .names(let names): .names(names)
    case .pattern(let pattern): .string(pattern)
    case .allLinear: .string("all-linear")
    }
  }
}

/// A number for the modules whose name a pattern fits; the first one that fits counts.
public struct PEFTPattern<Value: Sendable & Equatable>: Sendable, Equatable {
  public let pattern: String
  public let value: Value

  public init(pattern: String, value: Value) {
    self.pattern = pattern
    self.value = value
  }
}

/// What the configurations of all methods say.
public struct PEFTCommon: Sendable, Equatable {
  public var baseModel: String?
  /// `CAUSAL_LM`, `SEQ_CLS`, `TOKEN_CLS`, ...
  public var taskType: String?
  public var revision: String?
  public var inferenceMode: Bool
  /// Whole modules that are trained and saved as well.
  public var modulesToSave: [String]

  public init(
    baseModel: String? = nil, taskType: String? = "CAUSAL_LM", revision: String? = nil, inferenceMode: Bool = true,
    modulesToSave: [String] = []
  ) {
    self.baseModel = baseModel
    self.taskType = taskType
    self.revision = revision
    self.inferenceMode = inferenceMode
    self.modulesToSave = modulesToSave
  }

  init(_ fields: inout PEFTFields) throws {
    baseModel = try fields.text("base_model_name_or_path")
    taskType = try fields.text("task_type")
    if let mapping = fields.value("auto_mapping"), taskType == nil { taskType = Self.task(ofClassIn: mapping) }
    revision = try fields.text("revision")
    inferenceMode = try fields.flag("inference_mode")
    modulesToSave = try fields.names("modules_to_save")
  }

  /// The task of an adapter that names none: PEFT then writes down the class of the model.
  private static func task(ofClassIn autoMapping: JSONValue) -> String? {
    guard let name = autoMapping["base_model_class"]?.stringValue else { return nil }
    let endings = [("ForSequenceClassification", "SEQ_CLS"), ("ForTokenClassification", "TOKEN_CLS")]
    return endings.first { name.hasSuffix($0.0) }?.1
  }

  /// The task of an adapter whose configuration is `json`.
  public static func taskType(of json: JSONValue) -> String? {
    json["task_type"]?.stringValue ?? json["auto_mapping"].flatMap(task)
  }

  var entries: [(key: String, value: JSONValue)] {
    [
      ("auto_mapping", .null), ("base_model_name_or_path", .optional(baseModel)),
      ("inference_mode", .bool(inferenceMode)),
      ("modules_to_save", .namesOrNull(modulesToSave)), ("revision", .optional(revision)),
      ("task_type", .optional(taskType)),
    ]
  }
}
