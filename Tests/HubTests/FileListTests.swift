import Formats
import Hub
import Testing

struct FileListTests {
  static let oid = String(repeating: "a", count: 40)
  static let digest = String(repeating: "b", count: 64)

  private func list(_ entry: String) throws -> [HubFile] {
    try HubFile.list(try JSONValue.parse("[\(entry)]", file: "list"), repository: "a/b")
  }

  @Test func filesAreReadWithTheDigestThatTheHubKnowsThemBy() throws {
    let plain = try list(#"{"type": "file", "path": "a/c.json", "size": 7, "oid": "\#(Self.oid)"}"#)
    #expect(plain == [HubFile(path: "a/c.json", byteCount: 7, digest: .gitBlob(Self.oid))])
    let large = try list(
      #"{"type": "file", "path": "m", "size": 9, "oid": "\#(Self.oid)", "lfs": {"oid": "\#(Self.digest)", "size": 9}}"#)
    #expect(large == [HubFile(path: "m", byteCount: 9, digest: .sha256(Self.digest))])
    #expect(try list(#"{"type": "directory", "path": "a", "size": 0, "oid": "x"}"#).isEmpty)
  }

  @Test(arguments: [
    "/etc/passwd", "../a", "a/../b", "a//b", "a/", ".", "", "a/./b", #"a\nb"#, #"a\\b"#, #"a\u0000"#, "a.unfinished",
  ])
  func pathsThatLeaveTheFolderAreRefused(path: String) {
    #expect(throws: HubError.self) {
      try list(#"{"type": "file", "path": "\#(path)", "size": 7, "oid": "\#(Self.oid)"}"#)
    }
  }

  @Test(arguments: [
    #"{"type": "file", "path": "a", "size": -1, "oid": "OID"}"#, #"{"type": "file", "path": "a", "oid": "OID"}"#,
    #"{"type": "file", "path": "a", "size": 1e300, "oid": "OID"}"#, #"{"type": "file", "path": "a", "size": 1}"#,
    #"{"type": "file", "path": "a", "size": 1, "oid": "12"}"#, #"{"type": "file", "size": 1, "oid": "OID"}"#, "7",
    #"{"type": "file", "path": "a", "size": 1, "oid": "OID", "lfs": {"size": 1}}"#,
  ])
  func filesWithoutSizeOrDigestAreRefused(entry: String) {
    #expect(throws: HubError.self) { try list(entry.replacing("OID", with: Self.oid)) }
  }

  private func chosen(_ paths: [String], _ repository: String = "a/b", wishes: [String] = []) throws -> [String] {
    let files = paths.map { HubFile(path: $0, byteCount: 1, digest: .gitBlob(Self.oid)) }
    return try FileSelection.choose(from: files, of: try RepositoryName(repository), wishes: wishes).map(\.path)
  }

  @Test func oneCopyOfTheWeightsIsChosen() throws {
    #expect(
      try chosen(["README.md", "config.json", "model.safetensors", "model.fp32.safetensors", "m.gguf", "tf_model.h5"])
        == ["config.json", "model.safetensors"])
    #expect(
      try chosen(["model.safetensors.index.json", "model-00001-of-00001.safetensors", "consolidated.safetensors"])
        == ["model.safetensors.index.json", "model-00001-of-00001.safetensors"])
    let sentencePiece = ["sentencepiece.bpe.model", "model.safetensors"]
    #expect(try chosen(sentencePiece) == sentencePiece)
    let tools = ["additional_chat_templates/tool_use.jinja", "model.safetensors"]
    #expect(try chosen(tools + ["onnx/config.json", "original/LICENSE"]) == tools)
    #expect(try chosen(["m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "config.json"]).count == 2)
    #expect(throws: HubError.self) { try chosen(["m.Q4_0.gguf", "m.Q8_0.gguf"]) }
    #expect(throws: HubError.self) { try chosen(["pytorch_model.bin", "config.json"]) }
    #expect(throws: HubError.self) { try chosen([]) }
  }

  @Test func wishesAreWordsOrPatterns() throws {
    let paths = ["m.Q4_K_M.gguf", "m.Q8_0.gguf", "data/a.jsonl"]
    #expect(try chosen(paths, wishes: ["q4_k_m"]) == ["m.Q4_K_M.gguf"])
    #expect(try chosen(paths, wishes: ["*.jsonl", "Q8"]) == ["m.Q8_0.gguf", "data/a.jsonl"])
    #expect(throws: HubError.self) { try chosen(paths, wishes: ["*.JSONL"]) }
  }

  @Test func ofADataSetTheRowsAreChosen() throws {
    #expect(
      try chosen(["README.md", "data/train.jsonl", "dataset_infos.json", "x.parquet", "t.TSV"], "datasets/a/b")
        == ["data/train.jsonl", "t.TSV"])
    #expect(throws: HubError.self) { try chosen(["data/x.parquet"], "datasets/a/b") }
  }
}
