import Formats
import Foundation
import Testing
import Tokenization

/// Tokenizers as folders hold them, in one file or several.
struct TokenizerFolderTests {
  private static let tiny = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Models/tiny-llama")

  private func withFolder<Result>(_ files: [String: String], _ body: (String) throws -> Result) throws -> Result {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("tokenizer-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    for (name, text) in files {
      try text.write(to: folder.appendingPathComponent(name), atomically: true, encoding: .utf8)
    }
    return try body(folder.path)
  }

  private func tokenizer(_ files: [String: String]) throws -> Tokenizer {
    try withFolder(files) { try Tokenizer.load(directory: $0) }
  }

  @Test func kindsWithoutAPlaceInGGUFAreNamed() throws {
    let unigram = #"{"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],["a",-1.0]]},"added_tokens":[]}"#
    try withFolder(["tokenizer.json": unigram]) { folder in
      let reason = "of type Unigram cannot be written as GGUF"
      #expect {
        try TokenizerToGGUF.read(directory: folder, vocabularySize: 2)
      } throws: { error in
        "\(error)".contains(reason)
      }
    }
  }

  /// transformers adds the tokens of the other files, too.
  @Test func tokensThatOtherFilesNameAreFoundInText() throws {
    var object = try #require(
      try JSONValue.parse(contentsOf: Self.tiny.appendingPathComponent("tokenizer.json").path).objectValue)
    let all = object["added_tokens"]?.arrayValue ?? []
    object["added_tokens"] = .array(all.filter { $0["content"]?.stringValue != "<|im_end|>" })
    let json = JSONValue.object(object).serialized()
    let ends = #"{"eos_token": "<|im_end|>"}"#
    let plain = try tokenizer(["tokenizer.json": json, "tokenizer_config.json": ends])
    #expect(plain.encode("hi<|im_end|>").last == 2)
    #expect(plain.isSpecial(2))
    let listed =
      #"{"added_tokens_decoder": {"1030": {"content": "<tool>", "lstrip": true, "rstrip": false, "#
      + #""normalized": false, "single_word": false, "special": false}}}"#
    for files in [["tokenizer_config.json": listed], ["added_tokens.json": #"{"<tool>": 1030}"#]] {
      let tokenizer = try tokenizer(files.merging(["tokenizer.json": json]) { $1 })
      #expect(tokenizer.encode("a<tool>b").contains(1030))
      #expect(!tokenizer.isSpecial(1030))
    }
    // What no file gives an id and no vocabulary has is none; a padding that is text stays text.
    let unknown = #"{"additional_special_tokens": ["<tool>"], "pad_token": "!"}"#
    let other = try tokenizer(["tokenizer.json": json, "tokenizer_config.json": unknown])
    let first = try tokenizer(["tokenizer.json": json])
    #expect(other.encode("a<tool>b!") == first.encode("a<tool>b!"))
    #expect(other.decode(other.encode("no!"), skipSpecialTokens: true) == "no!")
  }

  private func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] { [number << 3 | 2, UInt8(bytes.count)] + bytes }

  /// A SentencePiece model of type BPE that keeps all spaces, as Llama's does.
  private func sentencePiece(_ pieces: [(text: String, type: UInt8)]) -> Data {
    var file: [UInt8] = []
    for (index, piece) in pieces.enumerated() {
      var entry = field(1, Array(piece.text.utf8))
      entry.append(2 << 3 | 5)
      entry += withUnsafeBytes(of: Float(-index).bitPattern.littleEndian) { Array($0) }
      entry += [3 << 3, piece.type]
      file += field(1, entry)
    }
    file += field(2, [3 << 3, 2])
    file += field(3, [4 << 3, 0])
    return Data(file)
  }

  /// As fine-tuned models of 2023 came: `tokenizer.model`, and the tokens of turns in other files.
  @Test(arguments: [
    #"{"added_tokens_decoder": {"6": {"content": "<|im_start|>", "lstrip": false, "rstrip": false, "normalized": false, "#
      + #""special": false}, "7": {"content": "<|im_end|>", "lstrip": false, "rstrip": false, "normalized": false, "#
      + #""special": true}}, "eos_token": "<|im_end|>", "tokenizer_class": "LlamaTokenizer"}"#,
    #"{"eos_token": "<|im_end|>", "tokenizer_class": "LlamaTokenizer"}"#,
  ])
  func tokensOfTurnsBesideASentencePieceModelAreFound(configuration: String) throws {
    let files = [
      "tokenizer_config.json": configuration, "config.json": #"{"model_type": "mistral"}"#,
      "added_tokens.json": #"{"<|im_end|>": 7, "<|im_start|>": 6}"#,
    ]
    let pieces: [(String, UInt8)] = [
      ("<unk>", 2), ("<s>", 3), ("</s>", 3), ("\u{2581}", 1), ("h", 1), ("i", 1),
    ]
    try withFolder(files) { folder in
      try sentencePiece(pieces).write(to: URL(fileURLWithPath: "\(folder)/tokenizer.model"))
      let tokenizer = try Tokenizer.load(directory: folder)
      #expect(tokenizer.encode("<|im_start|>hi<|im_end|>") == [6, 3, 4, 5, 7])
      #expect(tokenizer.eosTokenID == 7)
      // A space in front is kept beside the one that SentencePiece puts there.
      #expect(tokenizer.encode(" hi") == [3, 3, 4, 5])
    }
  }

  /// As transformers 5 saves several templates.
  @Test func theTemplateForToolsMayStandInAFolder() throws {
    let json = try String(contentsOf: Self.tiny.appendingPathComponent("tokenizer.json"), encoding: .utf8)
    for plain in [["chat_template.jinja": "plain"], ["tokenizer_config.json": #"{"chat_template": "plain"}"#]] {
      try withFolder(plain.merging(["tokenizer.json": json]) { $1 }) { folder in
        let tools = "\(folder)/additional_chat_templates"
        try FileManager.default.createDirectory(atPath: tools, withIntermediateDirectories: true)
        try "tools".write(toFile: "\(tools)/tool_use.jinja", atomically: true, encoding: .utf8)
        let template = try #require(try Tokenizer.load(directory: folder).chatTemplate)
        for (tools, expected) in [(JSONValue.null, "plain"), (.array([.string("t")]), "tools")] {
          let text = try template.render(messages: [], addGenerationPrompt: false, variables: ["tools": tools])
          #expect(text == expected)
        }
        let metadata = try TokenizerToGGUF.read(directory: folder, vocabularySize: 1024).metadata
        let templates = metadata.filter { $0.key.hasPrefix("tokenizer.chat_template") }
        #expect(templates.map(\.key) == ["tokenizer.chat_template", "tokenizer.chat_template.tool_use"])
      }
    }
  }

  @Test func whatGGUFDoesNotSayOfPhi3IsKnown() throws {
    try withFolder([:]) { folder in
      let path = "\(folder)/phi3.gguf"
      let tokens = ["<unk>", "<s>", "<0x0A>", "\u{2581}", "h", "i", "<|user|>", "<|end|>"]
      let writer = try GGUFWriter(
        path: path,
        metadata: [
          ("general.architecture", .string("phi3")), ("tokenizer.ggml.model", .string("llama")),
          ("tokenizer.ggml.tokens", .strings(tokens)), ("tokenizer.ggml.scores", .float32s(tokens.map { _ in 0 })),
          ("tokenizer.ggml.token_type", .int32s([2, 3, 6, 1, 1, 1, 3, 3])),
          ("tokenizer.ggml.add_bos_token", .bool(false)), ("tokenizer.ggml.add_space_prefix", .bool(false)),
          ("tokenizer.chat_template", .string("plain")), ("tokenizer.chat_template.tool_use", .string("tools")),
        ], tensors: [])
      try writer.finish()
      let rebuilt = try TokenizerFromGGUF.tokenizerFiles(try GGUFFile(path: path))
      let tokenizer = try Tokenizer(json: rebuilt.tokenizer.serialized(), configuration: rebuilt.configuration)
      #expect(tokenizer.encode("<|user|>\nhi<|end|>\n<s>\nh") == [6, 4, 5, 7, 1, 2, 4])
      let template = try #require(tokenizer.chatTemplate)
      let text = try template.render(
        messages: [], addGenerationPrompt: false, variables: ["tools": .array([.string("t")])])
      #expect(text == "tools")
    }
  }
}
