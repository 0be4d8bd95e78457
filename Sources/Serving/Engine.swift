import Deployment
import Formats
import Glibc
import Kernels
import Memory
import Tokenization
import Transformer

/// What is to be answered.
struct AnswerRequest: Sendable {
  var prompt: [Int32]
  var adapter: String?
  /// What the adapter puts in front of the prompt.
  var virtualTokens: [Int32] = []
  var maximumTokens: Int
  var sampling: SamplingOptions
  var stops: [String]
  /// The answer goes on with the text of the prompt.
  var continuesText = false
  /// Likely tokens to name with each; `nil` for no probabilities.
  var alternatives: Int?
  /// When an answer is cut, and one that has not begun is refused.
  var deadline: ContinuousClock.Instant
}

/// Answers several requests at once: one thread computes, a token of each text goes through the weights together, and what
/// the texts begin with in common with earlier ones is not read again.
final class Engine: @unchecked Sendable {
  // @unchecked: the queue is behind the lock of `hasWork`; everything else belongs to the engine's thread.

  /// A place for a text, with the cache that an earlier one has left in it.
  private final class Slot {
    let cache: KeyValueCache
    /// What the cache holds.
    var tokens: [Int32] = []
    var adapter: String?
    var work: Work?
    init(_ cache: KeyValueCache) { self.cache = cache }
  }

  /// A request that has a slot.
  private struct Work {
    let request: AnswerRequest
    let stream: AnswerStream
    let cachedTokens: Int
    var sampler: TokenSampler
    var decoder: StreamingDecoder
    var scanner: StopScanner
    var answerTokens = 0
    /// The token that was drawn and has not gone through the model.
    var next: Int32?
  }

  private let loaded: LoadedModel
  private let workspace: Workspace
  private let pass: Pass
  private let arena: Arena
  private let slots: [Slot]
  let contextLength: Int
  let queueLimit: Int
  let counters = ServerCounters()

  private let hasWork = Condition()
  private var queue: [(request: AnswerRequest, stream: AnswerStream)] = []
  /// Slots that nobody has.
  private var freeCount: Int
  private var isStopping = false
  private var thread = pthread_t()

  /// Prompt tokens that are read before other texts get their next token.
  private static let chunk = 512
  /// A shorter common beginning is read again: that takes no time worth speaking of, and keeps the answer to the bit what it is
  /// alone, because reading a prompt in one go rounds otherwise than continuing one.
  private static let leastKept = 256

  /// - Parameters:
  ///   - slots: texts at once
  ///   - contextLength: tokens of a text, prompt and answer
  ///   - queueLimit: requests that may wait
  /// - Throws: `ServerError` where there is no thread for it; what making its caches throws
  init(_ loaded: LoadedModel, slots count: Int, contextLength: Int, queueLimit: Int) throws {
    self.loaded = loaded
    self.contextLength = contextLength
    self.queueLimit = queueLimit
    freeCount = count
    (workspace, pass, arena, slots) = try loaded.makeServing(
      slots: count, contextLength: contextLength, chunk: Self.chunk
    ) { Slot($0) }
    // The thread owns the engine until it ends, however late it begins.
    let context = Unmanaged.passRetained(self)
    let failure = pthread_create(
      &thread, nil,
      { context in
        if let context { Unmanaged<Engine>.fromOpaque(context).takeRetainedValue().run() }
        return nil
      }, context.toOpaque())
    guard failure == 0 else {
      context.release()
      throw ServerError(description: "no thread can be started: \(String(cString: strerror(failure)))")
    }
  }

  /// Bytes that an engine takes beside the weights.
  static func byteCount(_ loaded: LoadedModel, slots: Int, contextLength: Int) throws -> Int {
    try loaded.servingByteCount(slots: slots, contextLength: contextLength, chunk: chunk)
  }

  // MARK: Any thread

  /// - Throws: `APIError` where it cannot be answered
  func submit(_ request: AnswerRequest) throws(APIError) -> AnswerStream {
    guard !request.prompt.isEmpty else { throw APIError("the prompt has no tokens") }
    guard request.prompt.count < contextLength else {
      throw APIError(
        "the prompt takes \(request.prompt.count) tokens; prompt and answer may have \(contextLength) together")
    }
    guard request.prompt.allSatisfy({ $0 >= 0 && Int($0) < loaded.model.description.vocabularySize }) else {
      throw APIError("the prompt has a token that the tokenizer knows and the model does not")
    }
    let stream = AnswerStream()
    var request = request
    request.virtualTokens = loaded.virtualTokens(of: request.adapter)
    hasWork.lock()
    queue.removeAll { $0.stream.isAbandoned }
    let waiting = max(0, queue.count - freeCount)
    let isOpen = !isStopping
    let isTaken = queue.count < queueLimit + freeCount
    if isOpen, isTaken {
      queue.append((request, stream))
      hasWork.signal()
    }
    hasWork.unlock()
    guard isOpen else { throw APIError(status: 503, "the server is stopping") }
    guard isTaken else { throw APIError(status: 429, "\(waiting) requests are waiting; try again later") }
    return stream
  }

  /// Answers what has begun, refuses what waits, and ends; a second call does nothing.
  func stop() {
    hasWork.lock()
    let isStopped = isStopping
    isStopping = true
    let waiting = queue
    queue = []
    hasWork.signal()
    hasWork.unlock()
    for (_, stream) in waiting { stream.put(.failed(APIError(status: 503, "the server is stopping"))) }
    if !isStopped { pthread_join(thread, nil) }
  }

  // MARK: The engine's thread

  private func run() {
    while admit() {
      readPrompt()
      decode()
    }
  }

  /// Gives waiting requests their places; waits where there is nothing to do.
  /// - Returns: `false` at the end
  private func admit() -> Bool {
    hasWork.lock()
    defer { hasWork.unlock() }
    let isIdle = { self.slots.allSatisfy { $0.work == nil } }
    counters.set(active: slots.count { $0.work != nil }, waiting: queue.count)
    while queue.isEmpty, isIdle(), !isStopping { hasWork.wait() }
    while !queue.isEmpty, slots.contains(where: { $0.work == nil }) {
      let (request, stream) = queue.removeFirst()
      if stream.isAbandoned { continue }
      if request.deadline < .now {
        stream.put(.failed(APIError(status: 503, "it has waited as long as an answer may take; try again later")))
      } else {
        place(request, stream)
      }
    }
    counters.set(active: slots.count { $0.work != nil }, waiting: queue.count)
    return !(isStopping && isIdle())
  }

  /// Into the slot whose text has most in common, of the same adapter.
  private func place(_ request: AnswerRequest, _ stream: AnswerStream) {
    let whole = request.virtualTokens + request.prompt
    func common(_ slot: Slot) -> Int {
      guard slot.adapter == request.adapter else { return 0 }
      let count = min(zip(slot.tokens, whole).prefix { $0 == $1 }.count, whole.count - 1)
      return count >= Self.leastKept ? count : 0
    }
    let free = slots.filter { $0.work == nil }
    guard let slot = free.max(by: { (common($0), -$0.tokens.count) < (common($1), -$1.tokens.count) }) else { return }
    let kept = common(slot)
    let cached = slot.cache.truncate(to: kept) ? kept : 0
    slot.tokens = Array(slot.tokens.prefix(cached))
    slot.adapter = request.adapter
    freeCount -= 1
    slot.work = Work(
      request: request, stream: stream, cachedTokens: max(0, cached - request.virtualTokens.count),
      sampler: TokenSampler(request.sampling),
      decoder: StreamingDecoder(loaded.tokenizer, after: request.continuesText ? request.prompt : []),
      scanner: StopScanner(request.stops))
    counters.add(requests: 1, promptTokens: request.prompt.count - max(0, cached - request.virtualTokens.count))
  }

  /// A piece of one prompt, so that no text waits long for its next token.
  private func readPrompt() {
    guard let slot = slots.first(where: { $0.work?.next == nil && $0.work != nil }), let work = slot.work else {
      return
    }
    if work.stream.isAbandoned { return release(slot) }
    loaded.select(slot.adapter)
    let rest = (work.request.virtualTokens + work.request.prompt).dropFirst(slot.tokens.count)
    let part = Array(rest.prefix(Self.chunk))
    let logits = loaded.model.extend(slot.cache, with: part, workspace: workspace, pass: pass)
    slot.tokens += part
    if part.count == rest.count { take(logits, for: slot) }
  }

  /// A token of every text that is being written; those of one adapter together.
  private func decode() {
    for slot in slots where slot.work?.stream.isAbandoned == true { release(slot) }
    let writing = slots.filter { $0.work?.next != nil }
    for adapter in Set(writing.map(\.adapter)) {
      let group = writing.filter { $0.adapter == adapter }
      let tokens = group.compactMap { $0.work?.next }
      loaded.select(adapter)
      let logits = loaded.model.extend(group.map(\.cache), with: tokens, workspace: workspace, pass: pass)
      for (row, slot) in group.enumerated() {
        slot.tokens.append(tokens[row])
        take(logits.row(row), for: slot)
      }
    }
  }

  /// Draws the next token of a text and hands over what it makes.
  private func take(_ logits: Vector, for slot: Slot) {
    guard var work = slot.work else { return }
    let token = work.sampler.draw(logits)
    if loaded.stopTokens.contains(token) { return end(slot, &work, .stop) }
    work.answerTokens += 1
    counters.add(answerTokens: 1)
    let probability = work.request.alternatives.map {
      TokenProbability(of: token, among: logits.values, alternatives: $0, tokenizer: loaded.tokenizer)
    }
    let (text, isEnd) = work.scanner.append(work.decoder.append(token))
    if !text.isEmpty || probability != nil { work.stream.put(.text(text, probability)) }
    if isEnd { return end(slot, &work, nil) }
    if work.answerTokens >= work.request.maximumTokens
      || slot.tokens.count - work.request.virtualTokens.count + 1 >= contextLength
      || work.request.deadline < .now
    {
      return end(slot, &work, .length)
    }
    work.next = token
    slot.work = work
  }

  /// - Parameter reason: `nil` where a text ended the answer: nothing of what was held back is let through
  private func end(_ slot: Slot, _ work: inout Work, _ reason: TextGenerator.Ending?) {
    if reason != nil {
      let (text, isEnd) = work.scanner.append(work.decoder.finish())
      let rest = isEnd ? text : text + work.scanner.finish()
      if !rest.isEmpty { work.stream.put(.text(rest, nil)) }
    }
    work.stream.put(
      .end(
        AnswerEnd(
          reason: reason ?? .stop, promptTokens: work.request.prompt.count, answerTokens: work.answerTokens,
          cachedTokens: work.cachedTokens)))
    release(slot)
  }

  private func release(_ slot: Slot) {
    slot.work = nil
    hasWork.lock()
    freeCount += 1
    hasWork.unlock()
  }
}

extension TokenProbability {
  fileprivate init(of token: Int32, among logits: [Float], alternatives: Int, tokenizer: Tokenizer) {
    let top = Double(logits.max() ?? 0)
    let sum = logits.reduce(0) { $0 + exp(Double($1) - top) }
    func logProbability(_ index: Int) -> Double { Double(logits[index]) - top - log(sum) }
    func bytes(_ index: Int) -> [UInt8] { tokenizer.bytes(decoding: Int32(index)) }
    var likeliest: [Int] = []
    for index in logits.indices where alternatives > 0 {
      let place = likeliest.lastIndex { logits[$0] >= logits[index] }.map { $0 + 1 } ?? 0
      guard place < alternatives else { continue }
      likeliest.insert(index, at: place)
      if likeliest.count > alternatives { likeliest.removeLast() }
    }
    self.init(
      text: bytes(Int(token)), logProbability: logProbability(Int(token)),
      alternatives: likeliest.map { (bytes($0), logProbability($0)) })
  }
}
