import Formats
import FoundationEssentials
import Options

let verifyCommand = Command(
  name: "verify", summary: "read a store, adapter or checkpoint through: checksums, structure, finite numbers",
  positional: ["FILE|DIR"],
  options: [
    .init("model", "DIR", "the base that an adapter is for (default: what its files name, if it is here)"),
    .init("quiet", nil, "say nothing when all is well"),
  ]
) { arguments in
  guard let path = arguments.positional.first else {
    throw UsageError(description: "name a store, a model, an adapter, a checkpoint, or the output folder of a run")
  }
  if let base = arguments.text("model") { try MissingPath.checkModel(base) }
  let all = ReadingSize.of(path)
  var done = 0
  var verification = Verification(base: arguments.text("model")) { count in
    done += count
    Console.progress(done: min(done, all) >> 20, of: all >> 20, "MiB")
  }
  try verification.check(path)
  if !arguments.flag("quiet") {
    for note in verification.notes { Console.print(note) }
  }
  guard verification.problems.isEmpty else {
    throw VerificationFailed(problems: verification.problems, isDamage: verification.isDamage)
  }
  if !arguments.flag("quiet") { Console.print("\(path) is sound") }
  return ExitCode.success
}

/// Bytes that reading a file or folder through takes, about.
private enum ReadingSize {
  static func of(_ path: String) -> Int {
    guard let names = try? FileManager.default.contentsOfDirectory(atPath: path) else {
      return (try? FilePieces.byteCount(of: path)) ?? 0
    }
    let isSummed = names.contains(FolderChecksums.fileName)
    return names.reduce(0) { sum, name in
      let file = "\(path)/\(name)"
      if name.hasPrefix("checkpoint-") { return sum + of(file) }
      guard name.hasSuffix(".safetensors") else { return sum }
      return sum + ((try? FilePieces.byteCount(of: file)) ?? 0) * (isSummed ? 2 : 1)
    }
  }
}
