import CKernels
import Glibc
import Synchronization

/// The one pool of worker threads; made once, used for every parallel loop.
///
/// A loop is a number of tasks. Each worker begins with its own share of them, the same share in every loop over the same
/// rows, so that it finds in its cache what it left there; then it helps the others. The split into tasks is the caller's,
/// and no sum may depend on it: results are the same at any thread count.
public final class ThreadPool: Sendable {
  /// What one loop is: runs task `task` on worker `worker` (`0 ..< threadCount`).
  ///
  /// The compiler checks that a body shares no variable with other tasks. It does not see through views of memory, `Matrix`,
  /// `Vector`, `Scratch` and what is made of them: of those a task writes a part that follows from its number, which no
  /// other task of the loop reads or writes, or memory of its worker, which has one task at a time. Everything that was
  /// written before the loop is seen by its tasks, and what they wrote by whoever comes after it.
  public typealias Body = @Sendable (_ task: Int, _ worker: Int) -> Void

  public let threadCount: Int
  /// What the threads are doing.
  public let meter: WorkMeter
  private let crew: WorkCrew

  /// - Parameter threadCount: workers including the calling thread; `nil` takes one per processor that this process may use.
  public init(threadCount: Int? = nil) {
    self.threadCount = max(1, threadCount ?? Processors.count)
    meter = WorkMeter(threadCount: self.threadCount)
    crew = WorkCrew(threadCount: self.threadCount, meter: meter)
    for worker in 1..<self.threadCount {
      WorkerThread.start("edge-lora-\(worker)", stackSize: 1 << 20) { [crew] in crew.work(as: worker) }
    }
  }

  deinit { crew.stop() }

  /// Runs `body` for every task in `0 ..< taskCount` and returns when all are done. Not re-entrant.
  ///
  /// - Parameters:
  ///   - work: what the tasks count as until they mark themselves otherwise
  ///   - inOrder: tasks are taken in their order by whoever is free: for loops whose last tasks are small
  public func run(_ taskCount: Int, as work: Work = .vector, inOrder: Bool = false, _ body: Body) {
    if threadCount == 1 || taskCount <= 1 {
      meter.mark(work, worker: 0)
      for task in 0..<taskCount where !crew.isAbandoned() { body(task, 0) }
      meter.mark(.serial, worker: 0)
      return
    }
    withoutActuallyEscaping(body) { escaping in
      withUnsafePointer(to: escaping) { crew.run(taskCount, as: work, shares: inOrder ? 1 : threadCount, $0) }
    }
  }

  /// Runs `loops`, of whose tasks none begins any more once `isAbandoned`: what they were to write is worth nothing then.
  /// Not re-entrant.
  ///
  /// - Parameter isAbandoned: asked by the calling thread before each of its tasks, until it has said so
  public func abandoning(when isAbandoned: () -> Bool, _ loops: () -> Void) {
    withoutActuallyEscaping(isAbandoned) {
      crew.asks(whetherAbandoned: $0)
      loops()
      crew.asks(whetherAbandoned: nil)
    }
  }
}

/// What the workers of a pool share; it lives until the last of them has left, which may be after the pool has gone.
///
/// A loop is over when its tasks are done, not when all workers have seen it: one that sleeps through a short loop holds
/// nobody up. Whoever comes late finds no task left, and touches nothing of the loop. There are ten thousand loops to a
/// second, so one begins without a lock: a worker that has to sleep for one comes too late to be of use.
private final class WorkCrew: @unchecked Sendable {
  // @unchecked: `cursors` are atomics in memory that this object owns; one property belongs to the calling thread; the
  // rest is atomic or a lock.

  private let meter: WorkMeter
  private let condition = Condition()
  private let finished = Condition()
  /// The tasks of a loop in equal shares, one after the other.
  private struct Tasks {
    let count: Int
    let shares: Int

    func share(_ index: Int) -> Range<Int> { count * index / shares..<count * (index + 1) / shares }
  }

  /// Number of the loop, which begins again at 0 after 2^32 of them: a long training gets there.
  private let loop = Atomic<UInt64>(0)
  /// For each share of the tasks, in a cache line of its own, the loop's number and the next task in the lower half: a task
  /// can only be taken from the loop that it belongs to.
  private let cursors: UnsafeMutablePointer<Atomic<UInt64>>
  private let threadCount: Int
  private static let stride = 8
  private let doneTasks = Atomic<Int>(0)
  // What the loop is. A worker may read parts of two loops, if it comes late; the cursors are those of the second by then.
  private let taskCount = Atomic<Int>(0)
  private let shareCount = Atomic<Int>(1)
  private let job = Atomic<UnsafeRawPointer?>(nil)
  private let work = Atomic<UInt8>(Work.vector.rawValue)
  private let stopping = Atomic<Bool>(false)
  private let sleepers = Atomic<Int>(0)
  /// Whether tasks are counted as done without being run, and what to ask for it, which only the calling thread knows.
  private let abandoned = Atomic<Bool>(false)
  private var asksWhetherAbandoned: (() -> Bool)?

  init(threadCount: Int, meter: WorkMeter) {
    self.meter = meter
    self.threadCount = threadCount
    cursors = .allocate(capacity: threadCount * Self.stride)
    for place in 0..<threadCount * Self.stride { (cursors + place).initialize(to: Atomic<UInt64>(0)) }
  }

  deinit {
    cursors.deinitialize(count: threadCount * Self.stride)
    cursors.deallocate()
  }

  func run(_ taskCount: Int, as work: Work, shares: Int, _ body: UnsafePointer<ThreadPool.Body>) {
    let tasks = Tasks(count: taskCount, shares: shares)
    let loop = begin(tasks, as: work, UnsafeRawPointer(body))
    takeTasks(of: loop, tasks, as: work, body, worker: 0)
    waitForTasks(taskCount)
    meter.mark(.serial, worker: 0)
  }

  /// Begins to ask, or ends it, and with it what was abandoned; between loops.
  func asks(whetherAbandoned question: (() -> Bool)?) {
    asksWhetherAbandoned = question
    abandoned.store(false, ordering: .relaxed)
  }

  /// Asks, on the calling thread, whether tasks are left out.
  func isAbandoned() -> Bool {
    if abandoned.load(ordering: .relaxed) { return true }
    guard let asksWhetherAbandoned, asksWhetherAbandoned() else { return false }
    abandoned.store(true, ordering: .relaxed)
    return true
  }

  func stop() {
    stopping.store(true, ordering: .releasing)
    _ = begin(Tasks(count: 0, shares: 1), as: .vector, nil)
  }

  /// - Returns: the number of the loop
  private func begin(_ tasks: Tasks, as work: Work, _ job: UnsafeRawPointer?) -> UInt64 {
    let next = (loop.load(ordering: .relaxed) + 1) & 0xFFFF_FFFF
    // The cursors first, all of them: whoever sees anything of the new loop finds no task of the old one.
    for index in 0..<threadCount {
      let first = index < tasks.shares ? tasks.share(index).lowerBound : 0
      (cursors + index * Self.stride).pointee.store(next << 32 | UInt64(first), ordering: .relaxed)
    }
    doneTasks.store(0, ordering: .relaxed)
    taskCount.store(tasks.count, ordering: .releasing)
    shareCount.store(tasks.shares, ordering: .releasing)
    self.work.store(work.rawValue, ordering: .releasing)
    self.job.store(job, ordering: .releasing)
    // A worker counts itself among the sleepers and then looks at the loop's number once more, so one of the two sees the
    // other.
    loop.store(next, ordering: .sequentiallyConsistent)
    if sleepers.load(ordering: .sequentiallyConsistent) > 0 {
      condition.lock()
      condition.broadcast()
      condition.unlock()
    }
    return next
  }

  private func takeTasks(
    of loop: UInt64, _ tasks: Tasks, as work: Work, _ body: UnsafePointer<ThreadPool.Body>, worker: Int
  ) {
    meter.mark(work, worker: worker)
    for offset in 0..<tasks.shares {
      let share = (worker + offset) % tasks.shares
      let end = UInt64(tasks.share(share).upperBound)
      let cursor = cursors + share * Self.stride
      var seen = cursor.pointee.load(ordering: .relaxed)
      while seen >> 32 == loop && seen & 0xFFFF_FFFF < end {
        let (taken, now) = cursor.pointee.compareExchange(
          expected: seen, desired: seen + 1, ordering: .acquiringAndReleasing)
        guard taken else {
          seen = now
          continue
        }
        let isLeftOut = worker == 0 ? isAbandoned() : abandoned.load(ordering: .relaxed)
        if !isLeftOut { body.pointee(Int(seen & 0xFFFF_FFFF), worker) }
        if doneTasks.wrappingAdd(1, ordering: .acquiringAndReleasing).newValue == tasks.count && worker != 0 {
          finished.lock()
          finished.signal()
          finished.unlock()
        }
        seen = cursor.pointee.load(ordering: .relaxed)
      }
    }
    meter.mark(.idle, worker: worker)
  }

  /// Looks for some microseconds whether `isOver`: most waits are shorter than going to sleep and waking up.
  @inline(__always) private func spin(until isOver: () -> Bool) -> Bool {
    for _ in 0..<2000 {
      if isOver() { return true }
      el_spin_hint()
    }
    return false
  }

  private func waitForTasks(_ count: Int) {
    if spin(until: { doneTasks.load(ordering: .acquiring) == count }) { return }
    finished.lock()
    while doneTasks.load(ordering: .acquiring) != count { finished.wait() }
    finished.unlock()
  }

  /// Waits until the number of the loop is another than `seen`.
  private func nextLoop(after seen: UInt64) -> UInt64 {
    if spin(until: { loop.load(ordering: .acquiring) != seen }) { return loop.load(ordering: .acquiring) }
    condition.lock()
    sleepers.wrappingAdd(1, ordering: .sequentiallyConsistent)
    while loop.load(ordering: .sequentiallyConsistent) == seen { condition.wait() }
    sleepers.wrappingSubtract(1, ordering: .relaxed)
    condition.unlock()
    return loop.load(ordering: .acquiring)
  }

  func work(as worker: Int) {
    var seen: UInt64 = 0
    while true {
      seen = nextLoop(after: seen)
      if stopping.load(ordering: .acquiring) { return }
      let tasks = Tasks(
        count: taskCount.load(ordering: .acquiring), shares: shareCount.load(ordering: .acquiring))
      let work = Work(rawValue: work.load(ordering: .acquiring)) ?? .vector
      guard let job = job.load(ordering: .acquiring) else { continue }
      takeTasks(of: seen, tasks, as: work, job.assumingMemoryBound(to: ThreadPool.Body.self), worker: worker)
    }
  }
}
