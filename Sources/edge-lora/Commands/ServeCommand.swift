import Deployment
import Formats
import FoundationEssentials
import Glibc
import Memory
import Options
import Serving
import Training
import Transformer

let serveCommand = Command(
  name: "serve", summary: "answer over HTTP, as OpenAI's API has it", positional: [],
  options: [
    .init("model", "DIR", "store or model folder (default: the only one here)"),
    .init("adapter", "NAME=DIR...", isList: true, "adapters, each a model of its own by its name"),
    .init("host", "ADDRESS", default: "127.0.0.1", "address to listen on; 0.0.0.0 for every network"),
    .init("port", "N", default: "8080", "port; 0 for any that is free"),
    .init("parallel", "N", default: "4", "requests that are answered at once"),
    .init("ctx-size", "N", "tokens of prompt and answer together (default: 4096, or what fits)"),
    .init("queue", "N", default: "64", "requests that may wait; more are refused with 429"),
    .init("time-limit", "SECONDS", default: "600", "an answer that takes longer is cut, one that waits longer refused"),
    .init("api-key-file", "FILE", "keys, one a line; requests need one of them"),
    .init("max-mem", "SIZE", "memory of the whole process, weights included"),
    .init("precision", "KIND", default: "int8", "int8, or f32 for the reference"),
    .init("threads", "N", "worker threads (default: one per processor)"),
  ]
) { arguments in
  var options = ModelServer.Options()
  options.address = try arguments.required("host")
  options.port = try arguments.number("port", in: 0...65_535)
  options.parallel = try arguments.number("parallel", in: 1...64)
  options.queueLimit = try arguments.number("queue", in: 0...100_000)
  options.contextLength = try arguments.values.optionalNumber("ctx-size", in: 64...1_048_576)
  options.timeLimit = try arguments.number("time-limit", in: 0.1...86_400)
  options.maximumMemory = try arguments.values.size("max-mem")
  if let file = arguments.text("api-key-file") { options.keys = try ServeSetup.keys(file) }
  let adapters = try NamedAdapters.parse(arguments.values.list("adapter"))
  let model = try ModelFinder.find(model: arguments.text("model") ?? ModelFinder.onlyModelHere(), adapter: nil).model
  let loaded = try LoadedModel(
    directory: model, adapters: adapters, precision: try arguments.values.choice("precision", Precision.self),
    threads: try arguments.threads())
  let name = URL(fileURLWithPath: model).standardizedFileURL.lastPathComponent
  let server = try ModelServer(loaded, name: name, adapters: adapters, options: options)
  Console.error(
    "serving \(([name] + adapters.map(\.name)).joined(separator: ", ")) on http://\(options.address):\(server.port)"
      + (server.contextLength.map { ", \(options.parallel) x \($0) tokens" } ?? ""))
  StopRequest.install()
  while StopRequest.signalNumber == nil { usleep(50_000) }
  Console.error("stopping: what has begun is answered")
  server.stop()
  return ExitCode.success
}

private enum ServeSetup {
  static func keys(_ file: String) throws -> Set<String> {
    let mapped = try MappedFile(path: file)
    let text = withExtendedLifetime(mapped) { String(decoding: mapped.bytes, as: UTF8.self) }
    let keys = text.split(whereSeparator: \.isNewline).map { $0.filter { !$0.isWhitespace } }.filter { !$0.isEmpty }
    guard !keys.isEmpty else { throw OptionError("--api-key-file \(file): there is no key in it") }
    return Set(keys)
  }
}
