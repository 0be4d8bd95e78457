import Deployment
import Formats
import FoundationEssentials
import Glibc
import Options
import Tokenization
import Transformer

let chatCommand = Command(
  name: "chat", summary: "talk to a model in the terminal", positional: [],
  options: [
    .init("model", "DIR", "store or model folder (default: that of the adapter, or the only one here)"),
    .init("adapter", "NAME=DIR...", isList: true, "adapters; /adapter NAME changes between them"),
    .init("system", "TEXT", "what the model is told before the conversation"),
    .init("ctx-size", "N", default: "4096", "tokens of the conversation"),
    .init("max-new-tokens", "N", default: "512", "tokens of an answer at most"),
    .init("temperature", "X", default: "0", "0 takes the likeliest token"),
    .init("top-p", "X", default: "1", "only the likeliest tokens of this probability together"),
    .init("top-k", "N", default: "0", "only so many of the likeliest tokens; 0 for all"),
    .init("seed", "N", default: "42", "seed of the draws"),
    .init("max-mem", "SIZE", "memory of the whole process, weights included; refused if that cannot be"),
    .init("precision", "KIND", default: "int8", "int8, or f32 for the reference"),
    .init("threads", "N", "worker threads (default: one per processor)"),
  ]
) { arguments in
  let sampling = try arguments.sampling()
  var adapters = try NamedAdapters.parse(arguments.values.list("adapter"))
  let (model, found) = try ModelFinder.find(model: arguments.text("model"), adapter: adapters.first?.path)
  if adapters.isEmpty, let found { adapters = try NamedAdapters.parse([found]) }
  let loaded = try LoadedModel(
    directory: model, adapters: adapters, precision: try arguments.values.choice("precision", Precision.self),
    threads: try arguments.threads())
  guard let template = loaded.tokenizer.chatTemplate else {
    throw GenerationError(description: "\(model) has no chat template; edge-lora generate continues texts")
  }
  let chat = try ChatSession(
    loaded, template: template, adapters: adapters.map(\.name), system: arguments.text("system"),
    contextLength: min(try arguments.number("ctx-size", in: 64...1_048_576), loaded.maximumPositions),
    maximumTokens: try arguments.number("max-new-tokens", in: 1...1_000_000), sampling: sampling,
    budget: try arguments.values.size("max-mem"))
  try chat.run()
  return ExitCode.success
}

/// A conversation in the terminal.
private final class ChatSession {
  private let loaded: LoadedModel
  private let template: ChatTemplate
  private let generator: TextGenerator
  private let adapters: [String]
  private let contextLength: Int
  private let maximumTokens: Int
  private let sampling: SamplingOptions
  private var system: String?
  private var turns: [ChatMessage] = []

  private static let help = """
    /adapter NAME   answer with this adapter; /adapter none without one
    /system TEXT    tell the model something before the conversation, which begins anew
    /reset          begin anew
    /save FILE      add the conversation to FILE as a row of training data
    /quit           end (also Ctrl-D)
    """

  init(
    _ loaded: LoadedModel, template: ChatTemplate, adapters: [String], system: String?, contextLength: Int,
    maximumTokens: Int, sampling: SamplingOptions, budget: Int?
  ) throws {
    self.loaded = loaded
    self.template = template
    self.adapters = adapters
    self.system = system
    self.contextLength = contextLength
    self.maximumTokens = maximumTokens
    self.sampling = sampling
    generator = try TextGenerator(loaded, capacity: contextLength, budget: budget, keepsBeginning: true)
    loaded.select(adapters.first)
  }

  func run() throws {
    let home = ProcessInfo.processInfo.environment["HOME"]
    let reader = LineReader(historyFile: home.map { $0 + "/.edge-lora_history" })
    if isatty(0) == 1 {
      Console.error(
        "\(adapters.first.map { "with the adapter \($0). " } ?? "")/help lists what can be done besides talking.")
    }
    while let line = reader.next("> ") {
      let text = line.drop { $0.isWhitespace }
      if text.isEmpty { continue }
      if text.hasPrefix("/") {
        if try !command(String(text)) { return }
      } else {
        try answer(line)
      }
    }
    if isatty(0) == 1 { Console.print("") }
  }

  private func answer(_ text: String) throws {
    let asked = turns + [ChatMessage(role: "user", content: text)]
    let rendered = try template.render(messages: opening + asked, addGenerationPrompt: true)
    let prompt = loaded.tokenizer.encode(rendered, addSpecialTokens: false)
    let room = contextLength - prompt.count
    guard room > 0 else {
      Console.error(
        "the conversation is \(prompt.count) tokens long and --ctx-size \(contextLength); /reset begins anew")
      return
    }
    let answer = try generator.generate(
      prompt: prompt, maximumTokens: min(maximumTokens, room), sampling: sampling
    ) { piece in
      Console.printPart(piece)
      return true
    }
    Console.printPart("\n")
    if answer.ending == .length { Console.error("[cut after \(answer.tokens) tokens]") }
    turns = asked + [ChatMessage(role: "assistant", content: answer.text)]
  }

  private var opening: [ChatMessage] { system.map { [ChatMessage(role: "system", content: $0)] } ?? [] }

  /// - Returns: `false` at the end
  private func command(_ line: String) throws -> Bool {
    let parts = line.split(separator: " ", maxSplits: 1).map(String.init)
    let argument = parts.count > 1 ? String(parts[1].drop { $0.isWhitespace }) : ""
    switch parts[0] {
    case "/quit", "/exit": return false
    case "/help": Console.error(Self.help)
    case "/reset": turns = []
    case "/system":
      system = argument.isEmpty ? nil : argument
      turns = []
    case "/adapter":
      guard argument == "none" || adapters.contains(argument) else {
        Console.error("there is \(adapters.isEmpty ? "no adapter" : adapters.joined(separator: ", ")), or none")
        break
      }
      loaded.select(argument == "none" ? nil : argument)
      generator.forget()
    case "/save":
      guard !argument.isEmpty, !turns.isEmpty else {
        Console.error(turns.isEmpty ? "there is nothing to save yet" : "/save FILE")
        break
      }
      save(to: argument)
    default: Console.error("\(parts[0]) is unknown\n\(Self.help)")
    }
    return true
  }

  /// Appends the conversation as `messages`.
  private func save(to path: String) {
    let messages = (opening + turns).map { turn in
      JSONValue.object(JSONObject([("role", .string(turn.role)), ("content", .string(turn.content))]))
    }
    do {
      try JSONLinesFile.append(.object(JSONObject([("messages", .array(messages))])), to: path)
      Console.error("added to \(path)")
    } catch { Console.error("\(error)") }
  }
}
