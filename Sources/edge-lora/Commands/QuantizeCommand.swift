import FoundationEssentials
import Glibc
import Kernels
import Memory
import Options
import Quantization
import Training
import WeightStore

/// Options that say how weights are stored; `quantize` and `merge` share them.
enum StoreOptions {
  /// - Parameter format: the default
  static func declarations(format: String) -> [OptionDeclaration] {
    [
      .init("format", "KIND", default: format, "nf4, int8, int4, f16 or bf16"),
      .init("double-quant", nil, "nf4: block maxima in 8 bits"),
      .init("group-size", "N", default: "64", "int4: columns that share a scale, 32, 64 or 128"),
      .init("embeddings", "KIND", default: "f16", "f16, or int8 (which only this program reads)"),
      .init("threads", "N", "worker threads (default: one per processor)"),
    ]
  }

  static func format(_ arguments: Arguments) throws -> StoreFormat {
    let name = try arguments.required("format")
    let groupSize = try arguments.number("group-size", in: 32...128)
    guard [32, 64, 128].contains(groupSize) else {
      throw UsageError(description: "--group-size \(groupSize): expected 32, 64 or 128")
    }
    if arguments.values.isGiven("group-size"), name != "int4" {
      throw UsageError(description: "--group-size goes with int4")
    }
    if arguments.flag("double-quant"), name != "nf4" { throw UsageError(description: "--double-quant goes with nf4") }
    switch name {
    case "nf4": return .nf4(doubleQuantization: arguments.flag("double-quant"))
    case "int8": return .int8
    case "int4": return .int4(groupSize: groupSize)
    case "f16": return .f16
    case "bf16": return .bf16
    default: throw UsageError(description: "--format \(name): expected nf4, int8, int4, f16 or bf16")
    }
  }

  static func int8Embeddings(_ arguments: Arguments) throws -> Bool {
    switch try arguments.required("embeddings") {
    case "f16": return false
    case "int8": return true
    case let other: throw UsageError(description: "--embeddings \(other): expected f16 or int8")
    }
  }

  /// Draws the bar of a store that is being written, and ends the run when a signal asks for it.
  static func progress(done: Int, of all: Int) throws {
    if let signal = StopRequest.signalNumber { throw StopRequest.Stopped(signal: signal) }
    Console.progress(done: done / 1_000_000, of: all / 1_000_000, "million weights")
  }

  static func table(_ report: QuantizationReport) -> String {
    func pad(_ text: String, _ width: Int) -> String {
      text + String(repeating: " ", count: max(1, width - text.count))
    }
    let width = max(26, (report.lines.map(\.kind.count).max() ?? 0) + 1)
    let head =
      pad("kind", width) + pad("format", 7) + pad("tensors", 8) + pad("bytes", 12) + pad("bits", 7)
      + pad("mean error", 12) + "worst"
    let lines = report.lines.map { line in
      pad(line.kind, width) + pad(line.format, 7) + pad("\(line.tensors)", 8) + pad("\(line.byteCount)", 12)
        + pad(Console.decimal(line.bitsPerWeight, 2), 7) + pad(Console.decimal(line.meanError, 5), 12)
        + Console.decimal(line.worstError, 5)
    }
    return ([head] + lines + ["sum \(ByteCount.text(report.byteCount))"]).joined(separator: "\n")
  }
}

let quantizeCommand = Command(
  name: "quantize", summary: "turn a checkpoint into a 4-bit or 8-bit store", positional: ["SOURCE"],
  options: [
    .init("output", "DIR", aliases: ["o"], "the store (also -o; default: SOURCE's name and the format)"),
    .init("random", "CONFIG", "made-up weights in the shape of this config.json, instead of SOURCE"),
    .init("force", nil, "replace an output that exists"),
  ] + StoreOptions.declarations(format: "nf4")
) { arguments in
  let shape = arguments.text("random")
  guard let path = shape ?? arguments.positional.first else {
    throw UsageError(description: "name a .safetensors file, a model folder or a .gguf file")
  }
  if shape != nil, !arguments.positional.isEmpty {
    throw UsageError(description: "--random takes the place of \(arguments.positional[0])")
  }
  let format = try StoreOptions.format(arguments)
  let embeddings = try StoreOptions.int8Embeddings(arguments)
  let source = try shape.map { try ModelSource.random(configurationFile: $0, seed: 1) } ?? ModelSource.open(path)
  for warning in source.warnings { Console.error("warning: \(warning)") }
  StopRequest.install()
  var stem = URL(fileURLWithPath: path).standardizedFileURL.lastPathComponent
  for suffix in [".index.json", ".safetensors", ".gguf", ".json"] where stem.hasSuffix(suffix) {
    stem.removeLast(suffix.count)
  }
  let output = arguments.text("output") ?? "\(stem)-\(format.name)"
  let quantizer = Quantizer(
    format: format, int8Embeddings: embeddings, force: arguments.flag("force"),
    pool: ThreadPool(threadCount: try arguments.threads()))
  let report = try quantizer.write(source, to: output, progress: StoreOptions.progress)
  Console.print(StoreOptions.table(report))
  Console.print("wrote \(output)")
  return ExitCode.success
}
