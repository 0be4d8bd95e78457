import Architectures
import Formats
import Glibc

/// A checkpoint's description and the names of its weights, where `config.json` and the files agree; where they do not, the
/// files count and a warning says so.
package struct DescribedCheckpoint {
  /// `config.json`, corrected.
  package let json: JSONValue
  package let description: ModelDescription
  package let names: TensorNames
  package let warnings: [String]

  /// - Parameter labelling: what the model is to say of texts or tokens, instead of what its configuration has
  package init(json: JSONValue, file: String, checkpoint: Checkpoint, labelling: Labelling? = nil) throws {
    let description = try ModelDescription(json: json, file: file, labelling: labelling)
    let names = TensorNames(of: description, in: checkpoint.tensorNames)
    if description.head.isTied, let embedding = checkpoint.tensor(names.stored(description.embedding.tokens.name)) {
      let untied = Self.untied(json)
      let other = try ModelDescription(json: untied, file: file)
      let otherNames = TensorNames(of: other, in: checkpoint.tensorNames)
      let name = other.head.weight.map { otherNames.stored($0.name) } ?? ""
      if !other.head.isTied, let head = checkpoint.tensor(name), !Self.isSame(head, embedding) {
        self.json = untied
        self.description = other
        self.names = otherNames
        warnings = [
          "\(file) says that the head is the embedding, but \(name) differs from it; the head of the file is used"
        ]
        return
      }
    }
    self.json = json
    self.description = description
    self.names = names
    warnings = []
  }

  /// A configuration whose embedding and head are two matrices.
  package static func untied(_ json: JSONValue) -> JSONValue {
    guard var object = json.objectValue else { return json }
    object["tie_word_embeddings"] = .bool(false)
    if let text = object["text_config"], text.objectValue != nil { object["text_config"] = untied(text) }
    return .object(object)
  }

  /// Whether two tensors hold the same bytes; their pages do not stay in memory.
  private static func isSame(_ left: StoredTensor, _ right: StoredTensor) -> Bool {
    guard left.elementType == right.elementType, left.shape == right.shape else { return false }
    let piece = 1 << 22
    for start in stride(from: 0, to: left.byteCount, by: piece) {
      let part = start..<min(start + piece, left.byteCount)
      let (a, b) = (
        UnsafeRawBufferPointer(rebasing: left.bytes[part]), UnsafeRawBufferPointer(rebasing: right.bytes[part])
      )
      guard let x = a.baseAddress, let y = b.baseAddress, memcmp(x, y, part.count) == 0 else { return false }
      for tensor in [left, right] { tensor.file.dropPages(offset: tensor.byteOffset + start, count: part.count) }
    }
    return true
  }
}

/// What `quantization_config` says of how a checkpoint is kept.
package struct ForeignQuantization {
  private let name: String
  private let isRead: Bool

  /// `nil` where the weights are in full precision.
  package init?(_ json: JSONValue) {
    guard let quantization = json["quantization_config"], quantization != .null else { return nil }
    let method = quantization["quant_method"]?.stringValue ?? "an unnamed method"
    switch method {
    case "bitsandbytes":
      let type = quantization["bnb_4bit_quant_type"]?.stringValue ?? "fp4"
      let isFour = quantization["load_in_4bit"]?.boolValue == true
      name = isFour ? "bitsandbytes \(type)" : "bitsandbytes in 8 bits"
      isRead = isFour && type == "nf4"
    case "compressed-tensors":
      let format = quantization["format"]?.stringValue ?? "without a format"
      name = "compressed-tensors \(format)"
      isRead = ["int-quantized", "pack-quantized"].contains(format)
    default:
      let bits = quantization["bits"]?.intValue.map { " in \($0) bits" } ?? ""
      name = method + bits
      isRead = false
    }
  }

  /// Why the weights cannot be used as they are; `nil` if they can.
  package var reason: String? {
    isRead
      ? nil
      : "is quantised with \(name), which is not read (bitsandbytes nf4 and compressed-tensors int-quantized and "
        + "pack-quantized are); get the original checkpoint and quantise that"
  }

  /// What to do instead of quantising it again.
  package var advice: String {
    "is quantised already (\(name)): name it as the --model of train, or quantise the original checkpoint"
  }
}
