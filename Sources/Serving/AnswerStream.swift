import Deployment
import Glibc
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
  // @unchecked: everything is behind the mutex.

  private var mutex = pthread_mutex_t()
  private var hasMore = pthread_cond_t()
  private var events: [AnswerEvent] = []
  private var isClosed = false

  init() {
    pthread_mutex_init(&mutex, nil)
    pthread_cond_init(&hasMore, nil)
  }

  deinit {
    pthread_cond_destroy(&hasMore)
    pthread_mutex_destroy(&mutex)
  }

  /// Whether nobody reads any more.
  var isAbandoned: Bool {
    pthread_mutex_lock(&mutex)
    defer { pthread_mutex_unlock(&mutex) }
    return isClosed
  }

  func put(_ event: AnswerEvent) {
    pthread_mutex_lock(&mutex)
    events.append(event)
    pthread_cond_signal(&hasMore)
    pthread_mutex_unlock(&mutex)
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
    pthread_mutex_lock(&mutex)
    defer { pthread_mutex_unlock(&mutex) }
    while events.isEmpty {
      if pthread_cond_timedwait(&hasMore, &mutex, &end) == ETIMEDOUT { return nil }
    }
    return events.removeFirst()
  }

  func close() {
    pthread_mutex_lock(&mutex)
    isClosed = true
    pthread_mutex_unlock(&mutex)
  }
}
