import Formats
import FoundationEssentials

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
    toolTemplateName,
  ]
  /// The template for conversations with tools, where there are two.
  private static let toolTemplateName = "\(templateFolder)/tool_use.jinja"
  /// Where transformers leaves named templates.
  public static let templateFolder = "additional_chat_templates"

  /// Those that a folder has.
  public static func all(in directory: String) throws -> [CompanionFile] {
    try names.filter { FileManager.default.fileExists(atPath: "\(directory)/\($0)") }.map { name in
      CompanionFile(name: name, content: .file(try MappedFile(path: "\(directory)/\(name)")))
    }
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
  package func write(to directory: String) throws {
    let path = "\(directory)/\(name)"
    if name.contains("/") { try OutputFolder.create(OutputFolder.above(path)) }
    switch content {
    case .text(let text): try OutputFile.write(text, to: path)
    case .file(let source):
      let output = try OutputFile(path: path)
      try output.append(source.bytes)
      try output.finish()
    }
  }
}
