import Formats
import Foundation

/// What a tokenizer file asks for that this program does not know, or says wrongly.
public struct TokenizerError: Error, CustomStringConvertible {
  public let file: String
  public let reason: String
  public var description: String { "\(file): \(reason)" }
}

extension Tokenizer {
  /// Reads `tokenizer.json` and, for the special tokens and the chat template, `tokenizer_config.json` and
  /// `chat_template.jinja` where they exist.
  ///
  /// - Throws: `TokenizerError`, `TemplateError` and the errors of `Formats`
  public static func load(directory: String) throws -> Tokenizer {
    let path = "\(directory)/tokenizer.json"
    let file = try MappedFile(path: path)
    let pipeline = try withExtendedLifetime(file) { try parse(file.bytes.bindMemory(to: UInt8.self), file: path) }
    let configurationPath = "\(directory)/tokenizer_config.json"
    var configuration = JSONValue.null
    if FileManager.default.fileExists(atPath: configurationPath) {
      configuration = try JSONValue.parse(contentsOf: configurationPath)
    }
    return Tokenizer(
      pipeline: pipeline, tokens: specialTokens(configuration),
      chatTemplate: try chatTemplate(directory: directory, configuration: configuration, file: configurationPath))
  }

  /// Builds a tokenizer from the text of its two files.
  package convenience init(json: String, configuration: JSONValue = .null, file: String = "tokenizer.json") throws {
    var json = json
    let pipeline = try json.withUTF8 { try Self.parse($0, file: file) }
    let tokens = Self.specialTokens(configuration)
    let template = try Self.templateSource(configuration).map {
      try ChatTemplate(source: $0, file: "\(file): chat_template", tokens: tokens)
    }
    self.init(pipeline: pipeline, tokens: tokens, chatTemplate: template)
  }

  private static func parse(_ bytes: Bytes, file: String) throws -> TokenizerPipeline {
    guard bytes.isUTF8 else { throw TokenizerError(file: file, reason: "not JSON: the file is not UTF-8") }
    return try TokenizerReader(TokenizerDocument(bytes, file: file)).pipeline()
  }

  /// `bos_token` and its like, by name: each is a text or an object that has one.
  private static func specialTokens(_ configuration: JSONValue) -> [String: String] {
    var tokens: [String: String] = [:]
    for key in ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"] {
      tokens[key] = configuration[key]?.stringValue ?? configuration[key]?["content"]?.stringValue
    }
    return tokens
  }

  /// The template of the configuration; of several named ones, the default.
  private static func templateSource(_ configuration: JSONValue) -> String? {
    let template = configuration["chat_template"]
    return template?.stringValue
      ?? template?.arrayValue?.first { $0["name"]?.stringValue == "default" }?["template"]?.stringValue
  }

  private static func chatTemplate(directory: String, configuration: JSONValue, file: String) throws -> ChatTemplate? {
    let path = "\(directory)/chat_template.jinja"
    let tokens = specialTokens(configuration)
    if FileManager.default.fileExists(atPath: path) {
      let template = try MappedFile(path: path)
      let source = withExtendedLifetime(template) { String(decoding: template.bytes, as: UTF8.self) }
      return try ChatTemplate(source: source, file: path, tokens: tokens)
    }
    return try templateSource(configuration).map {
      try ChatTemplate(source: $0, file: "\(file): chat_template", tokens: tokens)
    }
  }
}
