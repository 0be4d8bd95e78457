import Formats
import Tokenization
import WeightStore

extension CompanionFile {
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
          "\(directory) has no tokenizer: the store can only be trained and evaluated on input_ids; "
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
}
