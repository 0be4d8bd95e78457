/// How heads are shared out: whole ones as far as every thread gets as many, the others in two parts.
struct AttentionDivision: Sendable {
  private let wholeCount: Int
  /// Number of tasks.
  let count: Int

  init(heads: Int, threadCount: Int) {
    wholeCount = threadCount == 1 ? heads : heads / threadCount * threadCount
    count = wholeCount + 2 * (heads - wholeCount)
  }

  /// Whether the last tasks are smaller than the others.
  var hasParts: Bool { count > wholeCount }

  /// Head and part of a task; a whole head where there is no part.
  func task(_ index: Int) -> (head: Int, part: Int?) {
    if index < wholeCount { return (index, nil) }
    return (wholeCount + (index - wholeCount) / 2, (index - wholeCount) % 2)
  }

  /// Place of a head among those that are in two parts, of which there are fewer than threads.
  func place(ofHead head: Int) -> Int? { head < wholeCount ? nil : head - wholeCount }
}
