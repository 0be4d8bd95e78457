import Deployment
import Kernels
import Options
import Quantization
import Training

let mergeCommand = Command(
  name: "merge", summary: "add an adapter to its base and store the sum", positional: [],
  options: [
    .init("model", "DIR", "store or model folder (default: that of the adapter, or the only one here)"),
    .init("adapter", "DIR", "adapter folder, or a GGUF LoRA (default without --model: adapter, if it is here)"),
    .init("output", "DIR", aliases: ["o"], "the merged model (also -o)"),
    .init("check", "FILE", "compare the loss on this data before and after"),
    .init("max-loss-increase", "PERCENT", default: "2", "fail if the loss on --check grows by more"),
    .init("max-length", "N", default: "512", "tokens of a row of --check"),
    .init("force", nil, "replace an output that exists"),
  ] + StoreOptions.declarations(format: "int8")
) { arguments in
  let (model, found) = try ModelFinder.find(model: arguments.text("model"), adapter: arguments.text("adapter"))
  guard let adapter = found else { throw OptionError("--adapter is needed") }
  let output = try arguments.required("output")
  let format = try StoreOptions.format(arguments)
  let limit = try arguments.number("max-loss-increase", in: 0...1e6)
  let length = try arguments.number("max-length", in: 8...131_072)
  let threads = try arguments.threads()

  func loss(directory: String, adapter: String?, file: String) throws -> Double {
    let loaded = try LoadedModel(
      directory: directory, adapter: adapter, precision: .int8, threads: threads,
      needsTokenizer: false)
    guard loaded.model.description.labelling == nil else {
      let labelling = try loaded.labelling()
      let data = try ModelOptions.labelledData([file], loaded, labelling, maximumLength: length)
      return try Evaluator(loaded).report(data, labelling: labelling).loss
    }
    let data = try ModelOptions.data([file], loaded, maximumLength: length)
    let found = try Evaluator(loaded).loss(data, maximumLength: length)
    return found.loss
  }

  StopRequest.install()
  let check = arguments.text("check")
  let before = try check.map { try loss(directory: model, adapter: adapter, file: $0) }
  let merger = Merger(
    quantizer: Quantizer(
      format: format, int8Embeddings: try StoreOptions.int8Embeddings(arguments), force: arguments.flag("force"),
      pool: ThreadPool(threadCount: threads)))
  let report = try merger.merge(
    modelDirectory: model, adapter: adapter, to: output,
    check: { directory in
      guard let check, let before else { return }
      let after = try loss(directory: directory, adapter: nil, file: check)
      let increase = (after / before - 1) * 100
      let text =
        "loss before \(Console.decimal(before, 4)), after \(Console.decimal(after, 4)) "
        + "(\(increase >= 0 ? "+" : "")\(Console.decimal(increase, 2)) %)"
      guard increase <= limit else {
        throw MergeError(description: "\(text): more than --max-loss-increase \(limit); nothing was written")
      }
      Console.print(text)
    }, progress: StoreOptions.progress)
  Console.print(StoreOptions.table(report))
  Console.print("wrote \(output)")
  return ExitCode.success
}
