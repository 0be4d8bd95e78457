import Formats
import FoundationEssentials

/// Ollama's description of a model: which file, and where answers end. The chat template is in the GGUF file.
public enum Modelfile {
  /// Writes `Modelfile` into the folder of a GGUF file.
  ///
  /// - Parameters:
  ///   - stops: texts after which generation ends
  ///   - force: whether one that is there already is replaced, if it says nothing but what this writes
  /// - Returns: its path; `nil` if another one is there already
  public static func write(beside gguf: String, stops: [String], force: Bool) throws -> String? {
    let file = URL(fileURLWithPath: gguf)
    let path = file.deletingLastPathComponent().appendingPathComponent("Modelfile").path
    let text =
      "FROM ./\(file.lastPathComponent)\n"
      + stops.map { "PARAMETER stop \"\($0)\"\n" }.joined()
    if FileManager.default.fileExists(atPath: path) {
      guard let old = try? String(contentsOfFile: path, encoding: .utf8) else { return nil }
      let isOurs = old.split(whereSeparator: \.isNewline).allSatisfy {
        $0.hasPrefix("FROM ./") || $0.hasPrefix("PARAMETER stop ")
      }
      if old != text, !force || !isOurs { return nil }
    }
    let output = try AtomicOutput(path: path, force: true)
    try OutputFile.write(text, to: output.temporaryPath)
    try output.commit()
    return path
  }
}
