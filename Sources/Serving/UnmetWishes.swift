import Formats

/// Fields that other servers read and this one does not, though they would change the answer: a request is refused that
/// sets one to anything but what happens anyway, because an answer that passes over it looks as if it had been met.
enum UnmetWishes {
  /// Texts of a request, with what each may be.
  private static let harmless: [(key: String, isMet: @Sendable (JSONValue) -> Bool)] = [
    ("n", { $0.doubleValue == 1 }),
    ("best_of", { $0.doubleValue == 1 }),
    ("echo", { $0.boolValue == false }),
    ("suffix", { $0.stringValue == "" }),
    ("logit_bias", { isEmpty($0) }),
    ("presence_penalty", { $0.doubleValue == 0 }),
    ("frequency_penalty", { $0.doubleValue == 0 }),
    ("repetition_penalty", { $0.doubleValue == 1 }),
    ("repeat_penalty", { $0.doubleValue == 1 }),
    ("min_p", { $0.doubleValue == 0 }),
    ("typical_p", { $0.doubleValue == 1 }),
    ("mirostat", { $0.doubleValue == 0 }),
    ("min_tokens", { $0.doubleValue == 0 }),
    ("ignore_eos", { $0.boolValue == false }),
    ("stop_token_ids", { isEmpty($0) }),
    ("grammar", { $0.stringValue == "" }),
    ("json_schema", { isEmpty($0) }),
    ("response_format", { $0["type"]?.stringValue == "text" }),
    ("tool_choice", { ["auto", "none"].contains($0.stringValue ?? "") }),
    ("functions", { isEmpty($0) }),
    ("add_generation_prompt", { $0.boolValue == true }),
    ("chat_template", { _ in false }),
    ("n_predict", { $0.doubleValue == -1 }),
    ("structured_outputs", { isEmpty($0) }),
    ("guided_json", { isEmpty($0) }),
    ("guided_regex", { $0.stringValue == "" }),
    ("guided_choice", { isEmpty($0) }),
    ("guided_grammar", { $0.stringValue == "" }),
    ("continue_final_message", { $0.boolValue == false }),
    ("modalities", { $0 == .array([.string("text")]) }),
  ]

  private static func isEmpty(_ value: JSONValue) -> Bool {
    if let object = value.objectValue { return object.entries.isEmpty }
    return value.arrayValue?.isEmpty ?? false
  }

  /// - Throws: `APIError` that names the first field that cannot be met
  static func refuse(in request: RequestReader) throws(APIError) {
    for (key, isMet) in harmless {
      guard let value = request[key], !isMet(value) else { continue }
      throw APIError("\(key) is not supported with this value; leave it out")
    }
  }
}
