import Formats

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// What a tokenizer file asks for that this program does not know, or says wrongly.
public struct TokenizerError: Error, CustomStringConvertible {
  public let file: String
  public let reason: String
  public var description: String { "\(file): \(reason)" }
}

/// The files of a tokenizer in the folder of a model.
///
/// The tokenizer is `tokenizer.json`; where there is none, `tokenizer.model` (or `spiece.model`, `sentencepiece.bpe.model`),
/// `vocab.json` with `merges.txt`, or `vocab.txt`. Beside it `tokenizer_config.json`, `special_tokens_map.json`,
/// `added_tokens.json`, `chat_template.jinja`, `additional_chat_templates/tool_use.jinja` and `config.json` are read where they exist.
public struct TokenizerFolder {
  public let path: String
  private let modelType: String?
  /// `tokenizer_config.json`, with the special tokens that stand elsewhere.
  private let configuration: JSONValue
  private let chatTemplate: ChatTemplate?

  private static let sentencePieceNames = ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"]
  private static let otherNames = ["vocab.json", "vocab.txt"]

  /// Whether a folder holds any of the files that a tokenizer may be.
  public static func hasTokenizer(_ path: String) -> Bool {
    (["tokenizer.json"] + sentencePieceNames + otherNames).contains { isThere("\(path)/\($0)") }
  }

  /// - Throws: `JSONError`, `TemplateError`, `FileError`
  public init(_ path: String) throws {
    self.path = path
    func json(_ name: String) throws -> JSONValue? {
      guard Self.isThere("\(path)/\(name)") else { return nil }
      try Self.refuseStandIns("\(path)/\(name)")
      return try JSONValue.parse(contentsOf: "\(path)/\(name)")
    }
    let config = try json("config.json")
    modelType = config?["model_type"]?.stringValue
    configuration = SpecialTokens.completed(
      try json("tokenizer_config.json") ?? .null, map: try json("special_tokens_map.json"),
      added: try json("added_tokens.json"), modelType: modelType)
    chatTemplate = try Self.template(path, configuration)
  }

  /// Refuses a `tokenizer.json` that only stands for one, without reading it.
  /// - Throws: `TokenizerError` for a pointer of git-lfs and a link to nothing
  public func checkPresence() throws {
    let file = "\(path)/tokenizer.json"
    if Self.isThere(file) { try Self.refuseStandIns(file) }
  }

  /// Reads the tokenizer.
  /// - Throws: `TokenizerError` and the errors of `Formats`
  public func tokenizer() throws -> Tokenizer {
    let file = "\(path)/tokenizer.json"
    let pipeline: TokenizerPipeline
    if let rebuilt = try rebuilt() {
      var text = rebuilt.tokenizer.serialized()
      pipeline = try text.withUTF8 { try Tokenizer.parse($0, file: file) }
      return Tokenizer(
        pipeline: pipeline, tokens: SpecialTokens.tokens(rebuilt.configuration), chatTemplate: chatTemplate)
    }
    try Self.refuseStandIns(file)
    let mapped = try MappedFile(path: file)
    pipeline = try withExtendedLifetime(mapped) {
      try Tokenizer.parse(
        mapped.bytes.bindMemory(to: UInt8.self), file: file, adding: SpecialTokens.added(configuration))
    }
    return Tokenizer(pipeline: pipeline, tokens: SpecialTokens.tokens(configuration), chatTemplate: chatTemplate)
  }

  /// `tokenizer.json` and `tokenizer_config.json` for a folder that has no `tokenizer.json` but another form of tokenizer;
  /// `nil` if it has one, or nothing at all.
  /// - Throws: `TokenizerError` and the errors of `Formats`
  public func rebuilt() throws -> RebuiltTokenizer? {
    if Self.isThere("\(path)/tokenizer.json") { return nil }
    for name in Self.sentencePieceNames where Self.isThere("\(path)/\(name)") {
      try Self.refuseStandIns("\(path)/\(name)")
      return try TokenizerFromSentencePiece.tokenizerFiles(
        "\(path)/\(name)", configuration: configuration, modelType: modelType)
    }
    let (vocabulary, merges) = ("\(path)/vocab.json", "\(path)/merges.txt")
    if Self.isThere(vocabulary), Self.isThere(merges) {
      try Self.refuseStandIns(vocabulary)
      try Self.refuseStandIns(merges)
      return RebuiltTokenizer(
        tokenizer: try VocabularyFiles.bytePair(
          vocabulary: vocabulary, merges: merges, configuration: configuration, modelType: modelType),
        configuration: configuration, warnings: [])
    }
    let words = "\(path)/vocab.txt"
    if Self.isThere(words) {
      try Self.refuseStandIns(words)
      return RebuiltTokenizer(
        tokenizer: try VocabularyFiles.wordPiece(vocabulary: words, configuration: configuration),
        configuration: configuration, warnings: [])
    }
    return nil
  }

  private static func template(_ folder: String, _ configuration: JSONValue) throws -> ChatTemplate? {
    let sources = try TemplateSources(folder: folder, configuration: configuration)
    let file = sources.hasFile ? TemplateSources.fileName : "tokenizer_config.json: chat_template"
    return try ChatTemplate(sources, file: "\(folder)/\(file)", tokens: SpecialTokens.tokens(configuration))
  }

  /// The text of a template; `nil` where there is no such file.
  static func templateSource(_ path: String) throws -> String? {
    guard isThere(path) else { return nil }
    try refuseStandIns(path)
    let template = try MappedFile(path: path)
    guard template.byteCount <= ChatTemplate.longestSource else { throw ChatTemplate.tooLong(path) }
    return withExtendedLifetime(template) { String(decoding: template.bytes, as: UTF8.self) }
  }

  /// Whether something has this name, be it a link that leads nowhere.
  private static func isThere(_ path: String) -> Bool {
    FileManager.default.fileExists(atPath: path)
      || (try? FileManager.default.destinationOfSymbolicLink(atPath: path)) != nil
  }

  /// A link that leads nowhere, or the pointer that git-lfs leaves in place of a file.
  private static func refuseStandIns(_ path: String) throws {
    if !FileManager.default.fileExists(atPath: path),
      let target = try? FileManager.default.destinationOfSymbolicLink(atPath: path)
    {
      throw TokenizerError(
        file: path, reason: "is a link to \(target), which does not exist; copy the file itself, or download it again")
    }
    let file = try MappedFile(path: path)
    let isPointer = withExtendedLifetime(file) {
      file.bytes.starts(with: "version https://git-lfs.github.com/spec/".utf8)
    }
    if isPointer {
      throw TokenizerError(
        file: path,
        reason: "is a git-lfs pointer, not the file itself; run `git lfs pull` in its repository, or download it again")
    }
  }
}

extension Tokenizer {
  /// Reads the tokenizer of a model's folder; see `TokenizerFolder` for the files that it may be.
  ///
  /// - Throws: `TokenizerError`, `TemplateError` and the errors of `Formats`
  public static func load(directory: String) throws -> Tokenizer { try TokenizerFolder(directory).tokenizer() }

  /// Builds a tokenizer from the text of its two files.
  package convenience init(json: String, configuration: JSONValue = .null, file: String = "tokenizer.json") throws {
    var json = json
    let pipeline = try json.withUTF8 { try Self.parse($0, file: file) }
    let tokens = SpecialTokens.tokens(configuration)
    let sources = TemplateSources(configuration)
    let template = try ChatTemplate(sources, file: "\(file): chat_template", tokens: tokens)
    self.init(pipeline: pipeline, tokens: tokens, chatTemplate: template)
  }

  /// - Parameter tokens: what other files add
  fileprivate static func parse(_ bytes: Bytes, file: String, adding tokens: [JSONValue] = []) throws
    -> TokenizerPipeline
  {
    guard bytes.isUTF8 else { throw TokenizerError(file: file, reason: "not JSON: the file is not UTF-8") }
    var document = try TokenizerDocument(bytes, file: file)
    try document.add(tokens)
    return try TokenizerReader(document).pipeline()
  }
}

extension ChatTemplate {
  /// `nil` where a model has none that writes all conversations.
  fileprivate init?(_ sources: TemplateSources, file: String, tokens: [String: String]) throws {
    guard let plain = sources.plain else { return nil }
    try self.init(source: plain, toolSource: sources.withTools, file: file, tokens: tokens)
  }
}
