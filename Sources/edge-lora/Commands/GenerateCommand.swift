import Data
import Deployment
import FoundationEssentials
import Glibc
import Options
import Training

let generateCommand = Command(
  name: "generate", summary: "answer a prompt, or continue a text", positional: [],
  options: ModelOptions.declarations + [
    .init("prompt", "TEXT", "the prompt; - or nothing for standard input"),
    .init("raw", nil, "continue the prompt as it is, also where the model has a chat template"),
    .init("chat", nil, "insist on the model's chat template"),
    .init("max-new-tokens", "N", default: "128", "tokens at most"),
    .init("stop", "TEXT...", isList: true, "end before one of these texts"),
    .init("temperature", "X", default: "0", "0 takes the likeliest token"),
    .init("top-p", "X", default: "1", "only the likeliest tokens of this probability together"),
    .init("top-k", "N", default: "0", "only so many of the likeliest tokens; 0 for all"),
    .init("seed", "N", default: "42", "seed of the draws"),
    .init("max-mem", "SIZE", "memory of the whole process, weights included; refused if that cannot be"),
  ]
) { arguments in
  let maximum = try arguments.number("max-new-tokens", in: 1...1_000_000)
  let sampling = try arguments.sampling()
  if arguments.flag("raw"), arguments.flag("chat") {
    throw UsageError(description: "--raw and --chat exclude each other")
  }
  let prompt = try Prompt.text(arguments)
  let loaded = try ModelOptions.load(arguments)
  guard loaded.model.description.labelling == nil, !loaded.model.description.isEncoder else {
    throw GenerationError(description: "this model says labels and no texts: edge-lora predict asks it")
  }
  if arguments.flag("chat"), loaded.tokenizer.chatTemplate == nil {
    throw GenerationError(description: "the model has no chat template; leave --chat out")
  }
  let isChat = loaded.tokenizer.chatTemplate != nil && !arguments.flag("raw")
  let tokens =
    isChat ? try PromptFormat(tokenizer: loaded.tokenizer).promptTokens(prompt) : loaded.tokenizer.encodeStart(prompt)
  let room = loaded.maximumPositions - tokens.count
  guard room > 0 else {
    throw GenerationError(
      description:
        "the prompt takes \(tokens.count) tokens, but the model was made for \(loaded.maximumPositions); shorten it")
  }
  let most = min(maximum, room)
  let generator = try TextGenerator(
    loaded, capacity: tokens.count + most, budget: try arguments.values.size("max-mem"))
  let answer = try generator.generate(
    prompt: tokens, maximumTokens: most, sampling: sampling, stops: arguments.values.list("stop"),
    continuesText: !isChat
  ) { piece in
    Console.printPart(piece)
    return true
  }
  Console.printPart("\n")
  if answer.ending == .length {
    Console.error(
      most < maximum
        ? "[cut: the model has no room for more than \(most) tokens behind this prompt]"
        : "[cut after \(most) tokens: --max-new-tokens allows more]")
  }
  return ExitCode.success
}

/// What a command is asked.
private enum Prompt {
  static func text(_ arguments: Arguments) throws -> String {
    if let text = arguments.text("prompt"), text != "-" { return text }
    guard arguments.text("prompt") == "-" || isatty(0) == 0 else {
      throw OptionError("--prompt is needed, or a prompt on standard input")
    }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = read(0, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { break }
      bytes += buffer[..<count]
      guard bytes.count <= 1 << 26 else {
        throw UsageError(description: "standard input: no prompt is as long as that")
      }
    }
    if bytes.last == 0x0A { bytes.removeLast() }
    guard !bytes.isEmpty, let text = String(validating: bytes, as: UTF8.self) else {
      throw UsageError(
        description: "standard input: " + (bytes.isEmpty ? "there is no prompt" : "the prompt is not UTF-8"))
    }
    return text
  }
}
