import Formats

/// Reads `post_processor` of `tokenizer.json`, step by step.
struct PostProcessorReader {
  private let file: String
  private var addsTokens = false
  private(set) var result = PostProcessor()

  init(file: String) { self.file = file }

  private func refuse(_ reason: String) -> TokenizerError { TokenizerError(file: file, reason: reason) }

  mutating func read(_ json: JSONValue) throws {
    let type = json["type"]?.stringValue ?? "missing"
    switch type {
    case "ByteLevel": readTrimming(json)
    case "BertProcessing", "RobertaProcessing", "TemplateProcessing":
      if addsTokens { throw refuse("a post_processor that adds tokens after another one has is not supported") }
      addsTokens = true
      if type == "TemplateProcessing" {
        result.single = try template(json, "single", texts: 1)
        result.pair = json["pair"] == nil ? result.pair : try template(json, "pair", texts: 2)
      } else {
        try readEnds(json, isRoberta: type == "RobertaProcessing")
      }
    default:
      throw refuse(
        "post_processor \(type) is not supported; supported are TemplateProcessing, ByteLevel, BertProcessing, "
          + "RobertaProcessing, Sequence")
    }
  }

  private mutating func readTrimming(_ json: JSONValue) {
    if json["trim_offsets"]?.boolValue ?? true {
      result.trimmings.append(PostProcessor.Trimming(addsPrefixSpace: json["add_prefix_space"]?.boolValue ?? true))
    }
  }

  private mutating func readEnds(_ json: JSONValue, isRoberta: Bool) throws {
    guard let first = json["cls"]?.arrayValue?.last?.intValue, let last = json["sep"]?.arrayValue?.last?.intValue else {
      throw refuse("the post_processor does not name its tokens")
    }
    let (start, end) = (try id(first), try id(last))
    func token(_ id: Int32, _ type: Int32 = 0) -> PostProcessor.Piece { .token(id, type: type) }
    func text(_ isSecond: Bool, _ type: Int32 = 0) -> PostProcessor.Piece { .text(isSecond: isSecond, type: type) }
    result.single = [token(start), text(false), token(end)]
    if isRoberta {
      result.pair = [token(start), text(false), token(end), token(end), text(true), token(end)]
      result.plainTypes = (0, 0)
      readTrimming(json)
    } else {
      result.pair = [token(start), text(false), token(end), text(true, 1), token(end, 1)]
      result.plainTypes = (0, 1)
    }
  }

  private func template(_ json: JSONValue, _ name: String, texts: Int) throws -> [PostProcessor.Piece] {
    var pieces: [PostProcessor.Piece] = []
    var found: [String] = []
    for part in json[name]?.arrayValue ?? [] {
      if let sequence = part["Sequence"] {
        let text = sequence["id"]?.stringValue ?? ""
        found.append(text)
        pieces.append(.text(isSecond: text == "B", type: try type(sequence)))
      } else if let special = part["SpecialToken"], let token = special["id"]?.stringValue {
        guard let ids = json["special_tokens"]?[token]?["ids"]?.arrayValue else {
          throw refuse("the post_processor uses the token \(token) without giving its ids")
        }
        let type = try type(special)
        for json in ids { pieces.append(.token(try id(json.intValue), type: type)) }
      } else {
        throw refuse("the post_processor's template has a part that is neither a text nor a token")
      }
    }
    guard found.sorted() == ["A", "B"].prefix(texts).map({ $0 }) else {
      throw refuse(
        texts == 1
          ? "the post_processor's template for one text does not hold it once"
          : "the post_processor's template for two texts does not hold each once")
    }
    return pieces
  }

  private func type(_ json: JSONValue) throws -> Int32 {
    guard let type = json["type_id"]?.intValue ?? (json["type_id"] == nil ? 0 : nil), (0...1000).contains(type) else {
      throw refuse("the post_processor has a bad type_id")
    }
    return Int32(type)
  }

  private func id(_ value: Int?) throws -> Int32 {
    guard let value, value >= 0, value <= Vocabulary.largestID else { throw refuse("the post_processor has a bad id") }
    return Int32(value)
  }
}
