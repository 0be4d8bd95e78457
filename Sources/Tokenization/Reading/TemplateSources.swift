import Formats

/// The texts of a model's chat templates, as its folder has them.
struct TemplateSources {
  /// What writes all conversations, or all without tools.
  private(set) var plain: String?
  /// What writes conversations with tools, where a model has two.
  private(set) var withTools: String?
  /// Whether `plain` is a file of its own.
  private(set) var hasFile = false

  /// The file of the one or the plain template.
  static let fileName = "chat_template.jinja"
  /// transformers 5 leaves named templates in a folder.
  private static let toolFileName = "additional_chat_templates/tool_use.jinja"

  /// Those of a configuration: one, or several by their names.
  init(_ configuration: JSONValue) {
    let template = configuration["chat_template"]
    func named(_ name: String) -> String? {
      template?.arrayValue?.first { $0["name"]?.stringValue == name }?["template"]?.stringValue
    }
    plain = template?.stringValue ?? named("default")
    withTools = named("tool_use")
  }

  /// Those of a folder: where the plain template is a file, the configuration's do not count.
  /// - Throws: `FileError`, `TokenizerError`, `TemplateError`
  init(folder: String, configuration: JSONValue) throws {
    self.init(configuration)
    if let source = try TokenizerFolder.templateSource("\(folder)/\(Self.fileName)") {
      (plain, withTools, hasFile) = (source, nil, true)
    }
    withTools = try TokenizerFolder.templateSource("\(folder)/\(Self.toolFileName)") ?? withTools
  }
}
