import Synchronization

/// What a thread may be busy with, for measuring where the time of a step goes.
public enum Work: UInt8, CaseIterable, Sendable {
  /// Waiting for a loop, or for the other threads at its end.
  case idle
  /// The calling thread between two loops.
  case serial
  /// Stored weights becoming panels.
  case decode
  /// Block-scaled int8 products of frozen weights.
  case integerProduct
  /// The same products in floats.
  case referenceProduct
  /// Activations becoming int8.
  case quantize
  /// The thin products of adapters.
  case adapter
  case attention
  /// Vocabulary head and loss, whatever they do.
  case head
  /// Norms, activations, rotation, copies.
  case vector
  case optimizer
  /// Waiting for storage.
  case storage
}

/// What each thread of a pool is doing now. Marking costs a store; whoever wants a profile looks from another thread at
/// short intervals and counts.
public final class WorkMeter: @unchecked Sendable {
  // @unchecked: the marks are atomics in memory that this object owns.

  private let marks: UnsafeMutablePointer<Atomic<UInt8>>
  private let section = Atomic<UInt8>(Work.idle.rawValue)
  public let threadCount: Int
  /// One mark per cache line: threads do not disturb each other.
  private static let stride = 64

  init(threadCount: Int) {
    self.threadCount = threadCount
    marks = .allocate(capacity: threadCount * Self.stride)
    for place in 0..<threadCount * Self.stride { (marks + place).initialize(to: Atomic<UInt8>(Work.idle.rawValue)) }
    mark(.serial, worker: 0)
  }

  deinit {
    marks.deinitialize(count: threadCount * Self.stride)
    marks.deallocate()
  }

  /// Says what a worker does from now on.
  @inline(__always) public func mark(_ work: Work, worker: Int) {
    (marks + worker * Self.stride).pointee.store(work.rawValue, ordering: .relaxed)
  }

  /// Counts all that `body` does as `work`, whatever its loops are marked as.
  public func counting<Result>(as work: Work, _ body: () throws -> Result) rethrows -> Result {
    let outer = section.exchange(work.rawValue, ordering: .relaxed)
    defer { section.store(outer, ordering: .relaxed) }
    return try body()
  }

  /// What a worker is doing now.
  public func work(of worker: Int) -> Work {
    let mark = Work(rawValue: (marks + worker * Self.stride).pointee.load(ordering: .relaxed)) ?? .idle
    let whole = Work(rawValue: section.load(ordering: .relaxed)) ?? .idle
    return mark == .idle || whole == .idle ? mark : whole
  }
}
