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
  /// Prompt tokens that are read together.
  private static let chunk = 512

  /// - Parameter capacity: prompt and answer tokens together, at most
  public init(_ loaded: LoadedModel, capacity: Int) throws {
    self.loaded = loaded
    let limit = loaded.maximumPositions
    guard capacity <= limit else {
      throw GenerationError(
        description: "prompt and answer take \(capacity) tokens, but the model was made for \(limit); "
          + "shorten the prompt or --max-new-tokens")
    }
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
  ///   - stream: gets the text piece by piece; `false` ends early
  /// - Returns: the whole continuation, the number of its tokens, and why it ends
  @discardableResult
  public func generate(
    prompt: [Int32], maximumTokens: Int, sampling: SamplingOptions, stops: [String] = [],
    stream: (String) -> Bool = { _ in true }
  ) throws -> (text: String, tokens: Int, ending: Ending) {
    var logits = try read(prompt)
    var sampler = TokenSampler(sampling)
    var decoder = StreamingDecoder(loaded.tokenizer)
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
      logits =
        count < maximumTokens && cache.length < cache.capacity
        ? loaded.model.extend(cache, with: [token], workspace: workspace, pass: pass) : nil
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
      logits = loaded.model.extend(cache, with: [sampler.next(current)], workspace: workspace, pass: pass)
    }
    return ((middle - start) / .seconds(1), (ContinuousClock.now - middle) / .seconds(1))
  }

  /// Fills the cache with a prompt; the logits of what follows it.
  private func read(_ prompt: [Int32]) throws -> Vector? {
    guard !prompt.isEmpty else { throw GenerationError(description: "the prompt has no tokens") }
    cache.removeAll()
    let prompt = loaded.virtualTokens + prompt
    var logits: Vector?
    for start in Swift.stride(from: 0, to: prompt.count, by: Self.chunk) {
      let part = Array(prompt[start..<min(start + Self.chunk, prompt.count)])
      logits = loaded.model.extend(cache, with: part, workspace: workspace, pass: pass)
    }
    return logits
  }
}
