import Deployment
import Glibc
import Kernels
import Synchronization

/// A token with its probability and those of others that could have come.
struct TokenProbability: Sendable {
  let text: [UInt8]
  let logProbability: Double
  let alternatives: [(text: [UInt8], logProbability: Double)]
}

/// What an engine says of a request, in order.
enum AnswerEvent: Sendable {
  case text(String, TokenProbability?)
  case end(AnswerEnd)
  case failed(APIError)
}

/// How an answer ended.
struct AnswerEnd: Sendable {
  let reason: TextGenerator.Ending
  let promptTokens: Int
  let answerTokens: Int
  /// Prompt tokens that were still in memory.
  let cachedTokens: Int
}

/// Between the engine, which writes, and a connection, which reads.
final class AnswerStream: @unchecked Sendable {
  // @unchecked: everything is behind the lock of `hasMore`.

  private let hasMore = Condition()
  private var events: [AnswerEvent] = []
  private var isClosed = false

  /// Whether nobody reads any more.
  var isAbandoned: Bool {
    hasMore.lock()
    defer { hasMore.unlock() }
    return isClosed
  }

  func put(_ event: AnswerEvent) {
    hasMore.lock()
    events.append(event)
    hasMore.signal()
    hasMore.unlock()
  }

  /// Waits for the next event.
  func next() -> AnswerEvent {
    while true {
      if let event = next(within: 3600) { return event }
    }
  }

  /// Waits for the next event; `nil` if none comes within so many seconds.
  func next(within seconds: Int) -> AnswerEvent? {
    var end = timespec()
    clock_gettime(CLOCK_REALTIME, &end)
    end.tv_sec += seconds
    hasMore.lock()
    defer { hasMore.unlock() }
    while events.isEmpty {
      if hasMore.wait(until: end) { return nil }
    }
    return events.removeFirst()
  }

  func close() {
    hasMore.lock()
    isClosed = true
    hasMore.unlock()
  }
}
