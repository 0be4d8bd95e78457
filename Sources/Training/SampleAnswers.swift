import Architectures
import Data
import Formats
import Kernels
import Options
import Planning
import Tokenization
import Transformer

/// What a model that is being trained answered to a sample prompt.
public struct SampleAnswer: Sendable {
  public let prompt: String
  /// The answer that the file of prompts has.
  public let wanted: String?
  public let answer: String
  /// Whether the answer would go on.
  public let isCut: Bool

  /// As the records of a run have it.
  var json: JSONValue {
    var object = JSONObject([("prompt", .string(prompt))])
    if let wanted { object["wanted"] = .string(wanted) }
    object["answer"] = .string(answer)
    if isCut { object["cut"] = .bool(true) }
    return .object(object)
  }
}

extension SamplePrompt {
  fileprivate func isFor(vocabularySize: Int) -> Bool {
    !tokens.isEmpty && tokens.allSatisfy { $0 >= 0 && Int($0) < vocabularySize }
  }
}

/// The sample prompts of a run, and all that answers them.
struct SampleAnswers {
  private let prompts: [SamplePrompt]
  let tokenizer: Tokenizer
  private let stopTokens: Set<Int32>
  private let maximumTokens: Int
  /// What the plan reserves for the answers.
  let room: SampleRoom

  var count: Int { prompts.count }

  /// `nil` where no prompts are named.
  ///
  /// - Parameter virtualTokens: of a method, in front of every text
  init?(
    _ options: EvaluationOptions, model: LanguageModel, tokenizer: @autoclosure () throws -> Tokenizer,
    virtualTokens: Int
  ) throws {
    guard let file = options.samplePrompts else { return nil }
    self.tokenizer = try tokenizer()
    prompts = try SamplePrompt.read(file, tokenizer: self.tokenizer)
    for prompt in prompts where !prompt.isFor(vocabularySize: model.description.vocabularySize) {
      throw OptionError(
        "--sample-prompts \(file): \(prompt.text.prefix(60)): becomes no tokens, or such as the model does not know")
    }
    stopTokens = try StopTokens.of(
      model.description, directory: model.store.directory, tokenizer: self.tokenizer)
    maximumTokens = options.sampleTokens
    let longest = prompts.map(\.tokens.count).max() ?? 0
    let positions = model.description.maximumPositions - virtualTokens
    guard longest + maximumTokens <= positions else {
      throw OptionError(
        "--sample-prompts \(file): the longest prompt takes \(longest) tokens, and with \(maximumTokens) of "
          + "--sample-max-new-tokens more than the \(positions) that the model takes")
    }
    room = SampleRoom(capacity: virtualTokens + longest + maximumTokens)
  }

  /// The likeliest answer to each prompt.
  ///
  /// - Parameter progress: gets the number of prompts that are answered
  /// - Throws: what interrupts the engine
  func answers(of model: LanguageModel, in memory: TrainingMemory, progress: (Int) -> Void) throws -> [SampleAnswer] {
    guard let samples = memory.samples else { preconditionFailure("a plan with room for the answers") }
    memory.method.parametersChanged(pool: memory.engine.pool)
    let pass = Pass(engine: memory.engine)
    let front = VirtualToken.ids(memory.method.promptCount)
    return try prompts.enumerated().map { index, prompt in
      let (text, isCut) = try answer(front + prompt.tokens, model, samples, pass)
      progress(index + 1)
      return SampleAnswer(prompt: prompt.text, wanted: prompt.wanted, answer: text, isCut: isCut)
    }
  }

  private func answer(
    _ prompt: [Int32], _ model: LanguageModel, _ samples: SampleMemory, _ pass: Pass
  ) throws -> (text: String, isCut: Bool) {
    let workspace = samples.workspace
    samples.cache.removeAll()
    func extended(with tokens: ArraySlice<Int32>) throws -> Vector {
      let logits = model.extend(samples.cache, with: Array(tokens), workspace: workspace, pass: pass)
      try pass.engine.checkInterruption()
      return logits
    }
    var start = 0
    while prompt.count - start > workspace.tokenCapacity {
      _ = try extended(with: prompt[start..<start + workspace.tokenCapacity])
      start += workspace.tokenCapacity
    }
    var logits = try extended(with: prompt[start...])
    var decoder = StreamingDecoder(tokenizer)
    var text = ""
    for count in 1...maximumTokens {
      let token = Int32(logits.indexOfLargest())
      if stopTokens.contains(token) { return (text + decoder.finish(), false) }
      text += decoder.append(token)
      if count < maximumTokens { logits = try extended(with: [token]) }
    }
    return (text + decoder.finish(), true)
  }
}
