import Data
import Deployment
import Formats
import Foundation
import Kernels
import Testing
import Tokenization

struct EvaluatorTests {
  private let loaded: LoadedModel

  init() throws { loaded = try LoadedModel(directory: tinyLlama, adapter: nil, precision: .int8, threads: 1) }

  /// Lines of data as the commands read them.
  private func data(_ lines: [JSONObject]) throws -> TrainingData {
    try withTemporaryFolder { folder in
      let text = lines.map { JSONValue.object($0).serialized() }.joined(separator: "\n")
      try text.write(toFile: "\(folder)/data.jsonl", atomically: true, encoding: .utf8)
      return try DataReader(
        tokenizer: TokenizerSource(loaded.tokenizer), maximumLength: 128, trainOnPrompt: false, skipBadLines: false,
        vocabularySize: loaded.model.description.vocabularySize, keepsQuestions: true
      ).read(["\(folder)/data.jsonl"])
    }
  }

  private func line(_ prompt: String, _ answer: String) -> JSONObject {
    JSONObject([("prompt", .string(prompt)), ("completion", .string(answer))])
  }

  /// Where positions are learned there are no others.
  @Test func rowsAreNoLongerThanTheModelWasMadeFor() throws {
    try withTemporaryFolder { folder in
      for name in ["config.json", "model.safetensors"] {
        try FileManager.default.copyItem(atPath: "\(golden("gpt2"))/\(name)", toPath: "\(folder)/\(name)")
      }
      try FileManager.default.copyItem(atPath: "\(tinyLlama)/tokenizer.json", toPath: "\(folder)/tokenizer.json")
      let loaded = try LoadedModel(directory: folder, adapter: nil, precision: .f32, threads: 1)
      let rows = #"{"input_ids": [5, 6, 7, 8]}"# + "\n" + #"{"input_ids": [9, 10, 11]}"# + "\n"
      try rows.write(toFile: "\(folder)/data.jsonl", atomically: true, encoding: .utf8)
      let data = try DataReader(
        tokenizer: TokenizerSource(loaded.tokenizer), maximumLength: 24, trainOnPrompt: false, skipBadLines: false,
        vocabularySize: loaded.model.description.vocabularySize, keepsQuestions: false
      ).read(["\(folder)/data.jsonl"])
      let (far, near) = try (
        Evaluator(loaded).loss(data, maximumLength: 512), Evaluator(loaded).loss(data, maximumLength: 24)
      )
      #expect(far.loss == near.loss && far.tokens == 5)
      try Evaluator(loaded).dumpLogits(data, maximumLength: 512, to: "\(folder)/logits")
      #expect(try SafetensorsFile(path: "\(folder)/logits").tensor("logits")?.shape.first == 7)
    }
  }

  @Test func exactMatchesAreAnswersToTheLetterWhiteSpaceAside() throws {
    let prompts = ["what is the opposite of warm", "what is the opposite of big", "where is the cup"]
    let evaluator = Evaluator(loaded)
    var given: [String] = []
    let none = try evaluator.exactMatch(
      try data(prompts.map { line($0, "no such answer") }).questions, maximumTokens: 16
    ) { given.append($1) }
    #expect(none == 0 && given.count == 3 && given.allSatisfy { !$0.isEmpty })
    let answers = ["  \(given[0])\n", given[1], "\(given[2])x"]
    let some = try evaluator.exactMatch(try data(zip(prompts, answers).map(line)).questions, maximumTokens: 16)
    #expect(abs(some - 2.0 / 3) < 1e-12)
    #expect(try evaluator.exactMatch([], maximumTokens: 16) == 0)
  }

  /// An answer has the room that its question leaves; a question that leaves none is wrong, and ends nothing.
  @Test func questionsOfAnyLengthAreAsked() throws {
    let most = loaded.maximumPositions
    let end = try #require(loaded.tokenizer.encode("the cup", addSpecialTokens: false).last)
    let questions = [8, most - 2, most, most + 50].map { count in
      PromptAnswer(promptTokens: [Int32](repeating: end, count: count), prompt: "", answer: "")
    }
    var given: [String] = []
    let share = try Evaluator(loaded).exactMatch(questions, maximumTokens: 16) { given.append($1) }
    #expect(given.count == 4 && given[2...].allSatisfy(\.isEmpty))
    #expect(share <= 0.5)
  }

  /// The loss is the mean over the answers' tokens of what the logits say, and packed samples do not see each other.
  @Test func theLossIsThatOfTheLogits() throws {
    // In 8 bits a sample's products depend on what shares its row.
    let loaded = try LoadedModel(directory: tinyLlama, adapter: nil, precision: .f32, threads: 1)
    let data = try data([line("what is the opposite of warm", "cold"), line("where is the cup", "in the kitchen")])
    let found = try Evaluator(loaded).loss(data, maximumLength: 128)
    try withTemporaryFolder { folder in
      let path = "\(folder)/logits"
      try Evaluator(loaded).dumpLogits(data, maximumLength: 128, to: path)
      let tensor = try #require(try SafetensorsFile(path: path).tensor("logits"))
      let (values, vocabulary) = (tensor.floats(), tensor.shape[1])
      var (sum, count, first) = (0.0, 0, 0)
      for sample in data.samples {
        for place in 1..<sample.tokens.count where sample.labels[place] >= 0 {
          let row = values[(first + place - 1) * vocabulary..<(first + place) * vocabulary].map { Double($0) }
          let largest = row.max() ?? 0
          sum += largest + log(row.reduce(0) { $0 + exp($1 - largest) }) - row[Int(sample.labels[place])]
          count += 1
        }
        first += sample.tokens.count
      }
      #expect(found.tokens == count && count > 4)
      // Sums of fp32 against these in fp64.
      #expect(abs(found.loss - sum / Double(count)) < 1e-4)
      #expect(abs(found.perplexity - exp(found.loss)) < 1e-9)
    }
  }
}
