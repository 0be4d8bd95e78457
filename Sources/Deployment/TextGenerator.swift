import Adapters
import Foundation
import Kernels
import Memory
import Tokenization
import Transformer

/// A prompt that cannot be continued.
public struct GenerationError: Error, CustomStringConvertible {
  public let description: String
  public init(description: String) { self.description = description }
}

/// How the next token is chosen.
public struct SamplingOptions: Sendable {
  /// 0 takes the likeliest token.
  public var temperature: Double
  /// Only the likeliest tokens that together have this probability.
  public var topP: Double
  /// Only so many of the likeliest tokens; 0 for all.
  public var topK: Int
  public var seed: UInt64

  public init(temperature: Double = 0, topP: Double = 1, topK: Int = 0, seed: UInt64 = 42) {
    self.temperature = temperature
    self.topP = topP
    self.topK = topK
    self.seed = seed
  }
}

/// Continues prompts, token by token, with a cache of keys and values.
public final class TextGenerator {
  private let loaded: LoadedModel
  private let workspace: Workspace
  private let pass: Pass
  private let cache: KeyValueCache
  private let arena: Arena
  private let stopTokens: Set<Int32>
  /// Prompt tokens that are read together.
  private static let chunk = 128

  /// - Parameter capacity: prompt and answer tokens together, at most
  public init(_ loaded: LoadedModel, capacity: Int) throws {
    self.loaded = loaded
    let limit = loaded.model.configuration.maximumPositions
    guard capacity <= limit else {
      throw GenerationError(
        description: "prompt and answer take \(capacity) tokens, but the model was made for \(limit); "
          + "shorten the prompt or --max-new-tokens")
    }
    let made = try loaded.makeWorkspace(
      tokens: min(capacity, Self.chunk), positions: capacity, headRows: 1, purpose: .generation(capacity: capacity),
      cacheCapacity: capacity)
    guard let cache = made.cache else { throw GenerationError(description: "no cache was made") }
    workspace = made.workspace
    pass = made.pass
    arena = made.arena
    self.cache = cache
    var stops = Set(loaded.model.configuration.eosTokenIDs.map { Int32($0) })
    if let end = loaded.tokenizer.eosTokenID { stops.insert(end) }
    for name in ["<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<end_of_turn>"] {
      if let id = loaded.tokenizer.tokenID(name) { stops.insert(id) }
    }
    stopTokens = stops
  }

  /// Continues `prompt` until a stop token or `maximumTokens`.
  ///
  /// - Parameter stream: gets the text piece by piece; `false` ends early
  /// - Returns: the whole continuation and the number of its tokens
  @discardableResult
  public func generate(
    prompt: [Int32], maximumTokens: Int, sampling: SamplingOptions, stream: (String) -> Bool = { _ in true }
  ) throws -> (text: String, tokens: Int) {
    guard !prompt.isEmpty else { throw GenerationError(description: "the prompt has no tokens") }
    cache.removeAll()
    var logits: Vector?
    for start in Swift.stride(from: 0, to: prompt.count, by: Self.chunk) {
      let part = Array(prompt[start..<min(start + Self.chunk, prompt.count)])
      logits = loaded.model.extend(cache, with: part, workspace: workspace, pass: pass)
    }
    var sampler = TokenSampler(sampling)
    var decoder = StreamingDecoder(loaded.tokenizer)
    var text = ""
    var count = 0
    while count < maximumTokens, let current = logits {
      let token = sampler.next(current)
      if stopTokens.contains(token) { break }
      count += 1
      let piece = decoder.append(token)
      text += piece
      if !piece.isEmpty, !stream(piece) { return (text, count) }
      logits =
        count < maximumTokens && cache.length < cache.capacity
        ? loaded.model.extend(cache, with: [token], workspace: workspace, pass: pass) : nil
    }
    let rest = decoder.finish()
    if !rest.isEmpty { _ = stream(rest) }
    return (text + rest, count)
  }
}

/// Draws tokens reproducibly.
struct TokenSampler {
  private let options: SamplingOptions
  private var generator: SplitMix64

  init(_ options: SamplingOptions) {
    self.options = options
    generator = SplitMix64(seed: options.seed)
  }

  mutating func next(_ logits: Vector) -> Int32 {
    if options.temperature <= 0 { return Int32(logits.indexOfLargest()) }
    let values = logits.values
    var order = Array(values.indices)
    order.sort { values[$0] != values[$1] ? values[$0] > values[$1] : $0 < $1 }
    if options.topK > 0 { order.removeLast(max(0, order.count - options.topK)) }
    let top = Double(values[order[0]])
    let weights = order.map { exp((Double(values[$0]) - top) / options.temperature) }
    let all = weights.reduce(0, +)
    var kept = 0.0
    var count = 0
    for weight in weights {
      kept += weight
      count += 1
      if kept >= options.topP * all { break }
    }
    var target = Double(generator.next() >> 11) / Double(UInt64(1) << 53) * kept
    for index in 0..<count {
      target -= weights[index]
      if target < 0 { return Int32(order[index]) }
    }
    return Int32(order[count - 1])
  }
}
