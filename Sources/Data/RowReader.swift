import Architectures
import Formats
import Tokenization

/// From a row of JSON to a sample. What a row says is used or refused by the name of its key; keys without a meaning here,
/// such as `id`, are passed over, and a key that is null is as if it were not there.
extension DataReader {
  /// The kind of a row shows in its keys; the first of these that it has counts.
  ///
  /// - Returns: `false` if nothing of it is to be learnt, so that it was left out
  func add(_ json: JSONValue, to data: inout TrainingData) throws -> Bool {
    guard let object = json.objectValue else { throw LineError(reason: "expected an object") }
    let row = JSONObject(object.entries.filter { $0.value != .null })
    func text(_ key: String) throws -> String {
      guard let value = row[key] else {
        if let other = ["response", "output", "answer", "completion", "target"].first(where: { row[$0] != nil }) {
          throw LineError(reason: "\(key) is missing; there is \(other): call it \(key)")
        }
        throw LineError(
          reason: "\(key) is missing among the keys \(row.keys.prefix(8).joined(separator: ", ")); "
            + "prompt + completion, question + answer and instruction + output belong together")
      }
      guard let text = value.stringValue else { throw LineError(reason: "\(key) is not a string") }
      return text
    }
    for key in ["chosen", "rejected"] where row[key] != nil {
      throw LineError(reason: "\(key): preferences cannot be learnt; give prompt and completion")
    }
    if row["input_ids"] != nil { return try addTokens(row, to: &data) }
    if row["messages"] != nil || row["conversations"] != nil {
      return try addConversation(try Conversation(row: row), to: &data)
    }
    if let prompt = row["prompt"] {
      if row["label"] != nil {
        throw LineError(reason: "label: a preference cannot be learnt; leave out the key and what is not wanted")
      }
      if prompt.arrayValue != nil { return try addConversation(try Conversation(promptRow: row), to: &data) }
      return try addQuestion(try text("prompt"), try text("completion"), row, to: &data)
    }
    if row["instruction"] != nil {
      let input = row["input"] == nil ? "" : try text("input")
      let instruction = try text("instruction")
      return try addQuestion(
        input.isEmpty ? instruction : "\(instruction)\n\n\(input)", try text("output"), row, to: &data)
    }
    if row["question"] != nil { return try addQuestion(try text("question"), try text("answer"), row, to: &data) }
    guard row["text"] != nil else {
      throw LineError(
        reason: "none of text, prompt, messages, conversations, instruction, question or input_ids among the keys "
          + row.keys.prefix(8).joined(separator: ", "))
    }
    let tokenizer = try tokenizerSource.tokenizer()
    var tokens = tokenizer.encode(try text("text"))
    if let end = tokenizer.eosTokenID, tokens.last != end { tokens.append(end) }
    return try append(Sample(tokens: tokens, labels: tokens), to: &data)
  }

  private var notInVocabulary: LineError {
    LineError(reason: "a token id is not in the vocabulary of \(vocabularySize)")
  }

  /// - Returns: `false` if no token of it carries loss
  private func append(_ sample: Sample, to data: inout TrainingData) throws -> Bool {
    guard sample.tokens.allSatisfy({ $0 >= 0 && Int($0) < vocabularySize }) else { throw notInVocabulary }
    guard sample.tokens.count > 1 else { throw LineError(reason: "fewer than two tokens") }
    var sample = sample
    if sample.tokens.count > maximumLength {
      data.truncatedCount += 1
      sample.tokens = Array(sample.tokens.prefix(maximumLength))
      sample.labels = Array(sample.labels.prefix(maximumLength))
    }
    guard sample.labels.dropFirst().contains(where: { $0 != Label.ignored }) else { return false }
    data.hasLabel = true
    try data.samples.append(sample)
    return true
  }

  // MARK: Ids

  private func addTokens(_ row: JSONObject, to data: inout TrainingData) throws -> Bool {
    func numbers(_ key: String) throws -> [Int32]? {
      guard let value = row[key] else { return nil }
      guard let values = value.arrayValue else { throw LineError(reason: "\(key) is not a list") }
      return try values.map {
        guard let id = $0.intValue, let exact = Int32(exactly: id) else {
          throw LineError(reason: "\(key) holds something that is no id")
        }
        return exact
      }
    }
    let tokens = try numbers("input_ids") ?? []
    guard tokens.allSatisfy({ $0 >= 0 && Int($0) < vocabularySize }) else { throw notInVocabulary }
    let labels = try numbers("labels") ?? tokens
    guard labels.count == tokens.count else {
      throw LineError(reason: "\(labels.count) labels for \(tokens.count) input_ids")
    }
    guard labels.allSatisfy({ $0 == Label.ignored || ($0 >= 0 && Int($0) < vocabularySize) }) else {
      throw LineError(reason: "a label is neither -100 nor in the vocabulary of \(vocabularySize)")
    }
    let seen = try Self.seen(numbers("attention_mask"), count: tokens.count)
    data.isOnePerRow = true
    return try append(Sample(tokens: Array(tokens[seen]), labels: Array(labels[seen])), to: &data)
  }

  /// The tokens between padding on the left and on the right.
  private static func seen(_ mask: [Int32]?, count: Int) throws -> Range<Int> {
    guard let mask else { return 0..<count }
    guard mask.count == count else {
      throw LineError(reason: "attention_mask has \(mask.count) numbers for \(count) input_ids")
    }
    guard let first = mask.firstIndex(of: 1), let last = mask.lastIndex(of: 1) else {
      throw LineError(reason: "attention_mask hides every token")
    }
    guard mask[first...last].allSatisfy({ $0 == 1 }), mask.allSatisfy({ $0 == 0 || $0 == 1 }) else {
      throw LineError(reason: "attention_mask hides tokens between others; only padding at the ends can be left out")
    }
    return first..<last + 1
  }

  // MARK: Questions and conversations

  /// - Parameter row: has perhaps a context, a system prompt or earlier turns
  private func addQuestion(
    _ question: String, _ answer: String, _ row: JSONObject, to data: inout TrainingData
  ) throws -> Bool {
    var prompt = question
    if let context = row["context"] {
      guard let context = context.stringValue else { throw LineError(reason: "context is not a string") }
      // As the input of an instruction.
      if !context.isEmpty { prompt += "\n\n\(context)" }
    }
    if let conversation = try Conversation(question: prompt, answer: answer, row: row) {
      guard try tokenizerSource.tokenizer().chatTemplate != nil else {
        throw LineError(
          reason: "\(row["system"] == nil ? "history" : "system") needs a chat template, which this tokenizer has not")
      }
      return try addConversation(conversation, to: &data)
    }
    let parts = try PromptFormat(tokenizer: try tokenizerSource.tokenizer()).parts(
      prompt: prompt, answer: answer, trainOnPrompt: trainOnPrompt)
    if keepsQuestions {
      data.questions.append(PromptAnswer(promptTokens: parts.prompt, prompt: prompt, answer: answer))
    }
    if answer.isEmpty, !trainOnPrompt { return false }
    return try append(Sample(tokens: parts.conversation.tokens, labels: parts.conversation.labels), to: &data)
  }

  private func addConversation(_ conversation: Conversation, to data: inout TrainingData) throws -> Bool {
    let messages = conversation.messages
    let parts = try PromptFormat(tokenizer: try tokenizerSource.tokenizer()).parts(
      messages: messages, tools: conversation.tools, trainOnPrompt: trainOnPrompt,
      isLearnt: { conversation.isLearnt($0) })
    if keepsQuestions, messages.last?["role"]?.stringValue == "assistant",
      let answer = messages.last?["content"]?.stringValue
    {
      let prompt = messages.dropLast().last?["content"]?.stringValue ?? ""
      data.questions.append(PromptAnswer(promptTokens: parts.prompt, prompt: prompt, answer: answer))
    }
    if conversation.isEmpty, !trainOnPrompt { return false }
    return try append(Sample(tokens: parts.conversation.tokens, labels: parts.conversation.labels), to: &data)
  }
}
