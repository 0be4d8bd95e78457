import Deployment
import Kernels
import Memory
import Options
import Training

let exportCommand = Command(
  name: "export", summary: "write a model or an adapter as GGUF, for llama.cpp and Ollama", positional: [],
  options: [
    .init("model", "DIR", "store or model folder; with --adapter alone, the adapter becomes a GGUF LoRA"),
    .init("adapter", "DIR", "PEFT adapter folder: added to the model, or written on its own"),
    .init("base", "DIR", "folder of the adapter's base, when the adapter is written on its own (default: as it says)"),
    .init("output", "FILE", aliases: ["o"], "the .gguf file (also -o)"),
    .init("format", "KIND", default: "q8_0", "f16, q8_0, q4_0 or q4_k (llama.cpp's Q4_K_M)"),
    .init("threads", "N", "worker threads (default: one per processor)"),
    .init("force", nil, "replace an output that exists"),
  ]
) { arguments in
  let output = try arguments.required("output")
  let force = arguments.flag("force")
  StopRequest.install()
  guard let model = arguments.text("model") else {
    let adapter = try arguments.required("adapter")
    for name in ["format", "threads"] where arguments.values.isGiven(name) {
      throw UsageError(description: "--\(name) goes with --model; an adapter on its own is written in floats")
    }
    try MissingPath.checkAdapter(adapter)
    if let base = arguments.text("base") { try MissingPath.checkModel(base) }
    let count = try AdapterExporter.export(
      adapter: adapter, base: arguments.text("base"), to: output, force: force)
    Console.print("wrote \(output): \(count) layers; llama-cli -m BASE.gguf --lora \(ShellWord.quoted(output))")
    return ExitCode.success
  }
  let name = try arguments.required("format")
  guard let format = ExportFormat(rawValue: name) else {
    throw UsageError(
      description: "--format \(name): expected \(ExportFormat.allCases.map(\.rawValue).joined(separator: ", "))")
  }
  if arguments.text("base") != nil { throw UsageError(description: "--base goes with --adapter alone") }
  let exporter = ModelExporter(pool: ThreadPool(threadCount: try arguments.threads()))
  let report = try exporter.export(
    modelDirectory: try ModelFinder.checked(model), adapter: arguments.text("adapter"), to: output, format: format,
    force: force,
    progress: StoreOptions.progress)
  for remark in report.remarks { Console.error("note: \(remark)") }
  Console.print("wrote \(output): \(report.tensorCount) tensors, \(ByteCount.text(report.byteCount))")
  if let path = try Modelfile.write(beside: output, stops: report.stops, force: force) {
    Console.print("wrote \(path): ollama create NAME -f \(ShellWord.quoted(path))")
  } else {
    let name = output.split(separator: "/").last ?? ""
    Console.error("note: the Modelfile that is there stays as it is; for this file its first line is FROM ./\(name)")
  }
  return ExitCode.success
}
