import Deployment
import Kernels
import Testing

struct TextGeneratorTests {
  private let loaded: LoadedModel
  private let prompt: [Int32]

  init() throws {
    loaded = try LoadedModel(directory: tinyLlama, adapter: nil, precision: .int8, threads: 1)
    prompt = loaded.tokenizer.encodeStart("the cup is in the")
  }

  @Test func theTextIsWhatWasStreamed() throws {
    var pieces: [String] = []
    let result = try TextGenerator(loaded, capacity: prompt.count + 12).generate(
      prompt: prompt, maximumTokens: 12, sampling: SamplingOptions()
    ) {
      pieces.append($0)
      return true
    }
    #expect(pieces.joined() == result.text && pieces.count > 1)
    #expect(result.tokens > 1 && result.tokens <= 12)
  }

  @Test func aStreamThatSaysNoEndsTheText() throws {
    let generator = try TextGenerator(loaded, capacity: prompt.count + 40)
    var wanted = Int.max
    var pieces: [String] = []
    func text() throws -> String {
      pieces = []
      return try generator.generate(
        prompt: prompt, maximumTokens: 40, sampling: SamplingOptions(temperature: 1.5, seed: 3)
      ) {
        pieces.append($0)
        return pieces.count < wanted
      }.text
    }
    let whole = try text()
    try #require(pieces.count > 4)
    wanted = 2
    let part = try text()
    #expect(pieces.count == 2 && part == pieces.joined() && whole.hasPrefix(part) && whole != part)
  }

  /// A stop token ends the text and is no part of it.
  @Test func aStopTokenEndsTheText() throws {
    #expect(!loaded.stopTokens.isEmpty)
    let question = try #require(loaded.tokenizer.chatTemplate).render(
      messages: [.init(role: "user", content: "what is the opposite of warm")], addGenerationPrompt: true)
    let tokens = loaded.tokenizer.encode(question, addSpecialTokens: false)
    let result = try TextGenerator(loaded, capacity: tokens.count + 100).generate(
      prompt: tokens, maximumTokens: 100, sampling: SamplingOptions())
    #expect(result.tokens < 100 && result.tokens > 0)
    let written = loaded.tokenizer.encode(result.text, addSpecialTokens: false)
    #expect(!written.contains { loaded.stopTokens.contains($0) })
    // Given one token fewer than the answer has, it ends by its number.
    let cut = try TextGenerator(loaded, capacity: tokens.count + 100).generate(
      prompt: tokens, maximumTokens: result.tokens - 1, sampling: SamplingOptions())
    #expect(cut.tokens == result.tokens - 1 && result.text.hasPrefix(cut.text))
  }

  @Test func drawsFollowFromTheSeed() throws {
    let generator = try TextGenerator(loaded, capacity: prompt.count + 24)
    func text(_ seed: UInt64, temperature: Double = 1.5) throws -> String {
      try generator.generate(
        prompt: prompt, maximumTokens: 24, sampling: SamplingOptions(temperature: temperature, seed: seed)
      ).text
    }
    #expect(try text(1) == text(1))
    #expect(try text(1) != text(2))
    #expect(try text(1, temperature: 0) == text(2, temperature: 0))
  }

  @Test func whatCannotBeContinuedIsRefused() throws {
    #expect(throws: GenerationError.self) { try TextGenerator(loaded, capacity: 513) }
    let generator = try TextGenerator(loaded, capacity: 512)
    #expect(throws: GenerationError.self) {
      try generator.generate(prompt: [], maximumTokens: 4, sampling: SamplingOptions())
    }
  }
}
