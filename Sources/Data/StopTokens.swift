import Architectures
import Formats
import FoundationEssentials
import Tokenization

/// The tokens after which an answer ends.
public enum StopTokens {
  /// What the configuration, `generation_config.json` and the tokenizer call the end, and the ends of turns by name.
  ///
  /// - Parameters:
  ///   - directory: of the model
  ///   - tokenizer: `nil` where it has none
  public static func of(
    _ description: ModelDescription, directory: String, tokenizer: Tokenizer?
  ) throws -> Set<Int32> {
    var ids = description.eosTokenIDs
    let path = "\(directory)/generation_config.json"
    if FileManager.default.fileExists(atPath: path), let end = try JSONValue.parse(contentsOf: path)["eos_token_id"] {
      ids += end.arrayValue?.compactMap(\.intValue) ?? end.intValue.map { [$0] } ?? []
    }
    var stops = Set(ids.compactMap { Int32(exactly: $0) })
    if let end = tokenizer?.eosTokenID { stops.insert(end) }
    for name in ["<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<end_of_turn>"] {
      if let id = tokenizer?.tokenID(name) { stops.insert(id) }
    }
    return stops
  }
}
