import Deployment
import Formats
import Options
import Training

/// `bench generate`: how fast prompts are read and answers written, one stream, greedily.
enum GenerationBench {
  static let options: [OptionDeclaration] =
    [
      .init("prompt-tokens", "N", default: "512", "tokens of the prompt"),
      .init("max-new-tokens", "N", default: "128", "tokens of the answer"),
    ] + ModelOptions.declarations + [.init("json", nil, "print JSON")]

  private static let rounds = 5

  static func run(_ arguments: Arguments) throws -> Int32 {
    let promptTokens = try arguments.number("prompt-tokens", in: 1...1_000_000)
    let newTokens = try arguments.number("max-new-tokens", in: 1...1_000_000)
    let loaded = try ModelOptions.load(arguments)
    let vocabularySize = loaded.model.description.vocabularySize
    let prompt = (0..<promptTokens).map { Int32(($0 * 7919 + 13) % vocabularySize) }
    let generator = try TextGenerator(loaded, capacity: promptTokens + newTokens)
    var reading: [Double] = []
    var writing: [Double] = []
    for round in 0...rounds {  // the first one brings the weights into memory
      let seconds = try generator.time(prompt: prompt, newTokens: newTokens)
      if round == 0 { continue }
      reading.append(Double(promptTokens) / seconds.prompt)
      writing.append(Double(newTokens) / seconds.answer)
    }
    reading.sort()
    writing.sort()
    let (prompts, answers) = (reading[rounds / 2], writing[rounds / 2])
    if arguments.flag("json") {
      Console.print(
        JSONValue.object(
          JSONObject([
            ("prompt_tokens_per_second", .number(prompts)), ("generation_tokens_per_second", .number(answers)),
            ("prompt_tokens", .integer(promptTokens)), ("new_tokens", .integer(newTokens)),
          ])
        ).serialized(pretty: true))
    } else {
      Console.print("prompt      \(Console.decimal(prompts, 1)) tokens/s (\(promptTokens) tokens, median of \(rounds))")
      Console.print("generation  \(Console.decimal(answers, 1)) tokens/s (\(newTokens) tokens, median of \(rounds))")
    }
    return ExitCode.success
  }
}
