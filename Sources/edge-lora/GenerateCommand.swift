import Data
import Deployment
import Training

let generateCommand = Command(
  name: "generate", summary: "continue a prompt", positional: [],
  options: ModelOptions.declarations + [
    .init("prompt", "TEXT", "the prompt"),
    .init("chat", nil, "put the prompt into the model's chat template"),
    .init("max-new-tokens", "N", default: "128", "tokens at most"),
    .init("temperature", "X", default: "0", "0 takes the likeliest token"),
    .init("top-p", "X", default: "1", "only the likeliest tokens of this probability together"),
    .init("top-k", "N", default: "0", "only so many of the likeliest tokens; 0 for all"),
    .init("seed", "N", default: "42", "seed of the draws"),
  ]
) { arguments in
  let prompt = try arguments.required("prompt")
  let maximum = try arguments.number("max-new-tokens", in: 1...1_000_000)
  let sampling = SamplingOptions(
    temperature: try arguments.number("temperature", in: 0...100),
    topP: try arguments.number("top-p", in: 0...1),
    topK: try arguments.number("top-k", in: 0...1_000_000),
    seed: try arguments.number("seed", in: 0...UInt64.max))
  let loaded = try ModelOptions.load(arguments)
  if arguments.flag("chat"), loaded.tokenizer.chatTemplate == nil {
    throw GenerationError(description: "the model has no chat template; leave --chat out")
  }
  let tokens =
    arguments.flag("chat")
    ? try PromptFormat(tokenizer: loaded.tokenizer).promptTokens(prompt) : loaded.tokenizer.encodeStart(prompt)
  let generator = try TextGenerator(loaded, capacity: tokens.count + maximum)
  try generator.generate(prompt: tokens, maximumTokens: maximum, sampling: sampling) { piece in
    Console.printPart(piece)
    return true
  }
  Console.printPart("\n")
  return ExitCode.success
}
