import Foundation
import Synchronization

/// The one pool of worker threads; made once, used for every parallel loop.
///
/// A loop is a number of tasks; workers take tasks in order from a shared counter. The split into tasks is the
/// caller's and never depends on the thread count, so a result does not either.
public final class ThreadPool: Sendable {
  /// What one loop is: runs task `task` on worker `worker` (`0 ..< threadCount`).
  public typealias Body = (_ task: Int, _ worker: Int) -> Void

  public let threadCount: Int
  /// What the threads are doing.
  public let meter: WorkMeter
  private let crew: WorkCrew

  /// - Parameter threadCount: workers including the calling thread; `nil` takes one per processor that is online.
  public init(threadCount: Int? = nil) {
    self.threadCount = max(1, threadCount ?? ProcessInfo.processInfo.activeProcessorCount)
    meter = WorkMeter(threadCount: self.threadCount)
    crew = WorkCrew(helperCount: self.threadCount - 1, meter: meter)
    for worker in 1..<self.threadCount {
      let thread = Thread { [crew] in crew.work(as: worker) }
      thread.name = "edge-lora-\(worker)"
      thread.stackSize = 1 << 20
      thread.start()
    }
  }

  deinit { crew.stop() }

  /// Runs `body` for every task in `0 ..< taskCount` and returns when all are done. Not re-entrant.
  ///
  /// - Parameter work: what the tasks count as until they mark themselves otherwise
  public func run(_ taskCount: Int, as work: Work = .vector, _ body: Body) {
    if threadCount == 1 || taskCount <= 1 {
      meter.mark(work, worker: 0)
      for task in 0..<taskCount { body(task, 0) }
      meter.mark(.serial, worker: 0)
      return
    }
    withoutActuallyEscaping(body) { escaping in
      withUnsafePointer(to: escaping) { crew.run(taskCount, as: work, $0) }
    }
  }
}

/// What the workers of a pool share; it lives until the last of them has left, which may be after the pool has gone.
private final class WorkCrew: @unchecked Sendable {
  // @unchecked: `job`, `work`, `taskCount` and `stopping` change only while `condition` is locked.

  private let helperCount: Int
  private let meter: WorkMeter
  private let condition = NSCondition()
  private let finished = NSCondition()
  private let nextTask = Atomic<Int>(0)
  private let busyWorkers = Atomic<Int>(0)
  private let generation = Atomic<Int>(0)
  private var taskCount = 0
  private var job: UnsafeRawPointer?
  private var work = Work.vector
  private var stopping = false

  init(helperCount: Int, meter: WorkMeter) {
    self.helperCount = helperCount
    self.meter = meter
  }

  func run(_ taskCount: Int, as work: Work, _ body: UnsafePointer<ThreadPool.Body>) {
    condition.lock()
    job = UnsafeRawPointer(body)
    self.work = work
    self.taskCount = taskCount
    nextTask.store(0, ordering: .relaxed)
    busyWorkers.store(helperCount, ordering: .relaxed)
    generation.wrappingAdd(1, ordering: .releasing)
    condition.broadcast()
    condition.unlock()
    takeTasks(body.pointee, worker: 0)
    waitForWorkers()
    meter.mark(.serial, worker: 0)
  }

  func stop() {
    condition.lock()
    stopping = true
    generation.wrappingAdd(1, ordering: .releasing)
    condition.broadcast()
    condition.unlock()
  }

  private func takeTasks(_ body: ThreadPool.Body, worker: Int) {
    meter.mark(work, worker: worker)
    while true {
      let task = nextTask.wrappingAdd(1, ordering: .relaxed).oldValue
      if task >= taskCount { break }
      body(task, worker)
    }
    meter.mark(.idle, worker: worker)
  }

  /// Spins briefly, because most loops end within microseconds of each other, then sleeps.
  private func waitForWorkers() {
    for _ in 0..<spinCount where busyWorkers.load(ordering: .acquiring) != 0 { spinHint() }
    if busyWorkers.load(ordering: .acquiring) == 0 { return }
    finished.lock()
    while busyWorkers.load(ordering: .acquiring) != 0 { finished.wait() }
    finished.unlock()
  }

  func work(as worker: Int) {
    var seen = 0
    while true {
      for _ in 0..<spinCount where generation.load(ordering: .acquiring) == seen { spinHint() }
      condition.lock()
      while generation.load(ordering: .acquiring) == seen { condition.wait() }
      seen = generation.load(ordering: .acquiring)
      let pointer = stopping ? nil : job
      condition.unlock()
      guard let pointer else { return }
      takeTasks(pointer.assumingMemoryBound(to: ThreadPool.Body.self).pointee, worker: worker)
      if busyWorkers.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0 {
        finished.lock()
        finished.signal()
        finished.unlock()
      }
    }
  }

  private let spinCount = 2000

  @inline(__always) private func spinHint() {
    _ = nextTask.load(ordering: .relaxed)
  }
}
