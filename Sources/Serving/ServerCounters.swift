import Synchronization

/// What a server has done, for `/metrics`.
final class ServerCounters: Sendable {
  private struct Values {
    var requests = 0
    var promptTokens = 0
    var answerTokens = 0
    var active = 0
    var waiting = 0
    var refused = 0
  }
  private let values = Mutex(Values())

  func add(requests: Int = 0, promptTokens: Int = 0, answerTokens: Int = 0, refused: Int = 0) {
    values.withLock {
      $0.requests += requests
      $0.promptTokens += promptTokens
      $0.answerTokens += answerTokens
      $0.refused += refused
    }
  }

  func set(active: Int, waiting: Int) {
    values.withLock {
      $0.active = active
      $0.waiting = waiting
    }
  }

  /// In Prometheus' text format. Source: "Exposition formats" of Prometheus, version 0.0.4.
  func text(residentBytes: Int) -> String {
    let values = values.withLock { $0 }
    let rows: [(name: String, kind: String, help: String, value: Int)] = [
      ("requests_total", "counter", "requests that were taken up", values.requests),
      ("refused_total", "counter", "requests that were refused", values.refused),
      ("prompt_tokens_total", "counter", "prompt tokens that were read", values.promptTokens),
      ("generated_tokens_total", "counter", "tokens that were written", values.answerTokens),
      ("requests_active", "gauge", "requests that are being answered", values.active),
      ("requests_waiting", "gauge", "requests that wait", values.waiting),
      ("resident_memory_bytes", "gauge", "memory of the process", residentBytes),
    ]
    return rows.map { row in
      "# HELP edgelora_\(row.name) \(row.help)\n# TYPE edgelora_\(row.name) \(row.kind)\nedgelora_\(row.name) \(row.value)\n"
    }.joined()
  }
}
