import Formats

/// Metadata of a model in GGUF, by keys without the architecture in front; what is missing or wrong is refused by its key.
struct GGUFMetadata {
  let file: GGUFFile
  let architecture: String

  func refuse(_ reason: String) -> ModelDescription.Invalid { .init(file: file.path, reason: reason) }

  func has(tensor name: String) -> Bool { file.tensor(name) != nil }

  /// The value of a key. An array stands for its elements where they are all equal: some files say for each layer what
  /// holds for all.
  subscript(key: String) -> GGUFValue? {
    let value = file.metadata["\(architecture).\(key)"]
    if let values = value?.arrayValue, let first = values.first, values.allSatisfy({ $0 == first }) { return first }
    return value
  }

  func integer(_ key: String, default fallback: Int? = nil) throws -> Int {
    guard let value = self[key] else {
      if let fallback { return fallback }
      throw refuse("metadata \(architecture).\(key) is missing")
    }
    guard let number = value.intValue else {
      throw refuse(
        "metadata \(architecture).\(key) is not "
          + (value.arrayValue == nil ? "a whole number" : "the same for all layers, which is not supported"))
    }
    return number
  }

  func number(_ key: String, default fallback: Double? = nil) throws -> Double {
    guard let value = self[key] else {
      if let fallback { return fallback }
      throw refuse("metadata \(architecture).\(key) is missing")
    }
    guard let number = value.doubleValue, number.isFinite else {
      throw refuse("metadata \(architecture).\(key) is not a number")
    }
    return number
  }

  func flag(_ key: String, default fallback: Bool) throws -> Bool {
    guard let value = self[key] else { return fallback }
    guard let flag = value.boolValue else { throw refuse("metadata \(architecture).\(key) is not true or false") }
    return flag
  }

  /// Refuses a key that would make another model of it, unless its value is 0.
  func refuseUnlessZero(_ keys: [String]) throws {
    for key in keys {
      guard let value = self[key] else { continue }
      guard value.doubleValue == 0 || value.boolValue == false else {
        throw refuse(
          "metadata \(architecture).\(key) is \(value.doubleValue.map { "\($0)" } ?? "set"), which is not supported")
      }
    }
  }

  /// The elements of a small tensor of one dimension.
  func vector(_ tensor: GGUFTensor) throws -> [Double] {
    let count = tensor.columns
    guard tensor.rows == 1, (1...512).contains(count) else { throw refuse("\(tensor.name) has shape \(tensor.shape)") }
    var values = [Float](repeating: 0, count: count)
    values.withUnsafeMutableBufferPointer { file.dequantize(tensor, rows: 0..<1, into: $0) }
    guard values.allSatisfy({ $0.isFinite && $0 > 0 }) else {
      throw refuse("\(tensor.name) has elements that are no factors")
    }
    return values.map(Double.init)
  }
}

extension GGUFMetadata {
  /// The embedding, which says how many tokens there are.
  func embedding() throws -> GGUFTensor {
    guard let embedding = file.tensor("token_embd.weight") else {
      throw SafetensorsError.missingTensor(file: file.path, tensor: "token_embd.weight", similar: nil)
    }
    return embedding
  }

  /// What the configurations of all families have: `architectures`, the vocabulary's size, special tokens, the type of
  /// numbers, and whether the head is the embedding.
  func configuration(of family: Family) throws -> JSONObject {
    let embedding = try embedding()
    var json = JSONObject([
      ("architectures", .array([.string(family.architecture)])), ("model_type", .string(family.rawValue)),
      ("vocab_size", .integer(embedding.rows)), ("tie_word_embeddings", .bool(!has(tensor: "output.weight"))),
      ("dtype", .string(embedding.type == .bf16 ? "bfloat16" : "float16")),
    ])
    func token(_ name: String) -> Int? { file.metadata["tokenizer.ggml.\(name)_token_id"]?.intValue }
    if let start = token("bos") { json["bos_token_id"] = .integer(start) }
    if let padding = token("padding") { json["pad_token_id"] = .integer(padding) }
    if let end = token("eos") {
      // A turn may end otherwise than a text.
      let turn = token("eot").flatMap { $0 == end ? nil : $0 }
      json["eos_token_id"] = turn.map { .array([.integer(end), .integer($0)]) } ?? .integer(end)
    }
    return json
  }

  /// Elements of a head: by a key, else what the heads share evenly.
  func headSize() throws -> Int {
    let heads = try integer("attention.head_count")
    guard heads > 0 else { throw refuse("metadata \(architecture).attention.head_count is \(heads)") }
    let size = try integer("attention.key_length", default: try integer("embedding_length") / heads)
    let value = try integer("attention.value_length", default: size)
    guard value == size else {
      throw refuse("heads have keys of \(size) and values of \(value), which is not supported")
    }
    return size
  }
}
