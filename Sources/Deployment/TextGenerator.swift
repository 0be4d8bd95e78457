import FoundationEssentials
import Kernels
import Memory
import Tokenization
import Transformer

/// A prompt that cannot be continued.
public struct GenerationError: Error, CustomStringConvertible {
  public let description: String
  public init(description: String) { self.description = description }
}

/// Continues prompts, token by token, with a cache of keys and values.
public final class TextGenerator {
  private let loaded: LoadedModel
  private let workspace: Workspace
  private let pass: Pass
  private let cache: KeyValueCache
  private let arena: Arena
  /// What the cache holds.
  private var tokens: [Int32] = []
  private let keepsBeginning: Bool
  /// Prompt tokens that are read together.
  private static let chunk = 512

  /// - Parameters:
  ///   - capacity: prompt and answer tokens together, at most
  ///   - budget: bytes of the whole process; `nil` for as many as there are
  ///   - keepsBeginning: what a prompt has in common with the text before it is not read again, as in a conversation. That
  ///     rounds a little otherwise than reading it in one go.
  public init(_ loaded: LoadedModel, capacity: Int, budget: Int? = nil, keepsBeginning: Bool = false) throws {
    self.loaded = loaded
    self.keepsBeginning = keepsBeginning
    let limit = loaded.maximumPositions
    guard capacity <= limit else {
      throw GenerationError(
        description: "prompt and answer take \(capacity) tokens, but the model was made for \(limit); "
          + "shorten the prompt or --max-new-tokens")
    }
    try loaded.requireMemory(
      budget == nil ? 0 : try Self.byteCount(loaded, capacity: capacity), within: budget,
      for: "the cache of \(capacity) tokens", instead: "ask for fewer tokens")
    let places = capacity + loaded.promptCount
    let made = try loaded.makeWorkspace(
      tokens: min(places, Self.chunk), positions: places, headRows: 1, purpose: .generation(capacity: places),
      cacheCapacity: places)
    guard let cache = made.cache else { throw GenerationError(description: "no cache was made") }
    workspace = made.workspace
    pass = made.pass
    arena = made.arena
    self.cache = cache
  }

  /// Bytes that a generator takes beside the weights.
  static func byteCount(_ loaded: LoadedModel, capacity: Int) throws -> Int {
    try loaded.servingByteCount(slots: 1, contextLength: capacity, chunk: min(capacity, chunk))
  }

  /// Reads the next prompt from its beginning, as after another adapter was chosen.
  public func forget() {
    tokens = []
    cache.removeAll()
  }

  /// Why an answer ends.
  public enum Ending: String, Sendable {
    /// The model said so, or a text that ends it came.
    case stop
    /// It has as many tokens as it may have.
    case length
  }

  /// Continues `prompt` until a stop token, one of `stops` or `maximumTokens`.
  ///
  /// - Parameters:
  ///   - stops: texts before which the answer ends
  ///   - continuesText: the answer goes on with the text of the prompt, also with a space, instead of beginning one
  ///   - stream: gets the text piece by piece; `false` ends early
  /// - Returns: the whole continuation, the number of its tokens, and why it ends
  @discardableResult
  public func generate(
    prompt: [Int32], maximumTokens: Int, sampling: SamplingOptions, stops: [String] = [],
    continuesText: Bool = false, stream: (String) -> Bool = { _ in true }
  ) throws -> (text: String, tokens: Int, ending: Ending) {
    var logits = try read(prompt)
    var sampler = TokenSampler(sampling)
    var decoder = StreamingDecoder(loaded.tokenizer, after: continuesText ? prompt : [])
    var scanner = StopScanner(stops)
    var text = ""
    var count = 0
    func take(_ piece: (text: String, isEnd: Bool)) -> Bool {
      text += piece.text
      return (piece.text.isEmpty || stream(piece.text)) && !piece.isEnd
    }
    while count < maximumTokens, let current = logits {
      let token = sampler.next(current)
      if loaded.stopTokens.contains(token) {
        _ = take(scanner.append(decoder.finish())) && take((scanner.finish(), false))
        return (text, count, .stop)
      }
      count += 1
      if !take(scanner.append(decoder.append(token))) { return (text, count, .stop) }
      logits = count < maximumTokens && cache.length < cache.capacity ? extend(with: [token]) : nil
    }
    let isEnd = !take(scanner.append(decoder.finish()))
    if !isEnd { _ = take((scanner.finish(), false)) }
    return (text, count, isEnd ? .stop : .length)
  }

  /// Seconds that reading `prompt` takes, and writing `newTokens` tokens after it: the likeliest ones, also past the end
  /// of a text.
  public func time(prompt: [Int32], newTokens: Int) throws -> (prompt: Double, answer: Double) {
    let start = ContinuousClock.now
    var logits = try read(prompt)
    let middle = ContinuousClock.now
    var sampler = TokenSampler(SamplingOptions())
    for _ in 0..<newTokens {
      guard let current = logits, cache.length < cache.capacity else { break }
      logits = extend(with: [sampler.next(current)])
    }
    return ((middle - start) / .seconds(1), (ContinuousClock.now - middle) / .seconds(1))
  }

  /// Fills the cache with a prompt; the logits of what follows it.
  private func read(_ prompt: [Int32]) throws -> Vector? {
    guard !prompt.isEmpty else { throw GenerationError(description: "the prompt has no tokens") }
    guard prompt.allSatisfy({ $0 >= 0 && Int($0) < loaded.model.description.vocabularySize }) else {
      throw GenerationError(description: "the prompt has a token that the tokenizer knows and the model does not")
    }
    let prompt = loaded.virtualTokens + prompt
    var kept = keepsBeginning ? min(zip(tokens, prompt).prefix { $0 == $1 }.count, prompt.count - 1) : 0
    if !cache.truncate(to: kept) { kept = 0 }
    tokens = Array(prompt[..<kept])
    var logits: Vector?
    for start in Swift.stride(from: kept, to: prompt.count, by: Self.chunk) {
      logits = extend(with: Array(prompt[start..<min(start + Self.chunk, prompt.count)]))
    }
    return logits
  }

  private func extend(with part: [Int32]) -> Vector {
    tokens += part
    return loaded.model.extend(cache, with: part, workspace: workspace, pass: pass)
  }
}
