import Formats
import FoundationEssentials
import Glibc
import Tokenization

/// A file that stands beside the weights of a model and goes with them: tokenizer, chat template, generation settings.
public struct CompanionFile: Sendable {
  private enum Content {
    case text(String)
    case file(MappedFile)
  }

  public let name: String
  private let content: Content

  public init(name: String, text: String) {
    self.name = name
    content = .text(text)
  }

  private static let names = [
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
    "vocab.json", "merges.txt", "generation_config.json", "chat_template.jinja", "chat_template.json",
  ]

  /// Those that a folder has.
  public static func all(in directory: String) throws -> [CompanionFile] {
    try names.filter { FileManager.default.fileExists(atPath: "\(directory)/\($0)") }.map { name in
      CompanionFile(name: name, content: .file(try MappedFile(path: "\(directory)/\(name)")))
    }
  }

  /// The files beside a model that is to be stored: where its tokenizer has another form, as `tokenizer.json` too.
  ///
  /// - Returns: also what the user should know of the tokenizer
  /// - Throws: `TokenizerError` where a file only stands for one
  static func forStore(of directory: String) throws -> (files: [CompanionFile], warnings: [String]) {
    let files = try all(in: directory)
    guard TokenizerFolder.hasTokenizer(directory) else {
      return (
        files,
        [
          "\(directory) has no tokenizer: the store can only be trained on input_ids; "
            + "copy tokenizer.json beside the weights"
        ]
      )
    }
    let folder = try TokenizerFolder(directory)
    try folder.checkPresence()
    guard let rebuilt = try folder.rebuilt() else { return (files, []) }
    let made = Self.files(of: rebuilt)
    return (files.filter { old in !made.contains { $0.name == old.name } } + made, rebuilt.warnings)
  }

  /// A tokenizer that was made from another form, as files.
  static func files(of rebuilt: RebuiltTokenizer) -> [CompanionFile] {
    [
      CompanionFile(name: "tokenizer.json", text: rebuilt.tokenizer.serialized()),
      CompanionFile(name: "tokenizer_config.json", text: rebuilt.configuration.serialized(pretty: true)),
    ]
  }

  private init(name: String, content: Content) {
    self.name = name
    self.content = content
  }

  /// Writes what an adapter's folder has of its base's files, as trainers leave it there: generation settings and the chat
  /// template, which older models keep inside `tokenizer_config.json`.
  public static func writeForAdapter(of model: String, to directory: String) throws {
    let wanted: Set = ["generation_config.json", "chat_template.jinja", "chat_template.json"]
    let files = try all(in: model).filter { wanted.contains($0.name) }
    for file in files { try file.write(to: directory) }
    guard !files.contains(where: { $0.name == "chat_template.jinja" }),
      let configuration = try? JSONValue.parse(contentsOf: "\(model)/tokenizer_config.json"),
      let template = configuration["chat_template"]?.stringValue
    else { return }
    try CompanionFile(name: "chat_template.jinja", text: template).write(to: directory)
  }

  /// Writes the file into `directory`, which exists.
  func write(to directory: String) throws {
    let path = "\(directory)/\(name)"
    switch content {
    case .text(let text): try OutputFile.write(text, to: path)
    case .file(let source):
      let output = try OutputFile(path: path)
      try output.append(source.bytes)
      try output.finish()
    }
  }
}
