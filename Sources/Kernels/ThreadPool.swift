import CKernels
import Foundation
import Synchronization

/// The one pool of worker threads; made once, used for every parallel loop.
///
/// A loop is a number of tasks; workers take tasks in order from a shared counter. The split into tasks is the
/// caller's, and no sum may depend on it: results are the same at any thread count.
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
    crew = WorkCrew(meter: meter)
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
///
/// A loop is over when its tasks are done, not when all workers have seen it: one that sleeps through a short loop holds
/// nobody up. Whoever comes late finds no task left, and touches nothing of the loop.
private final class WorkCrew: @unchecked Sendable {
  // @unchecked: `job`, `work`, `taskCount` and `stopping` change only while `condition` is locked.

  private let meter: WorkMeter
  private let condition = NSCondition()
  private let finished = NSCondition()
  /// Number of the loop, and its next task in the lower half: a task can only be taken from the loop that it belongs to.
  private let state = Atomic<UInt64>(0)
  private let doneTasks = Atomic<Int>(0)
  private var taskCount = 0
  private var job: UnsafeRawPointer?
  private var work = Work.vector
  private var stopping = false

  init(meter: WorkMeter) { self.meter = meter }

  func run(_ taskCount: Int, as work: Work, _ body: UnsafePointer<ThreadPool.Body>) {
    condition.lock()
    job = UnsafeRawPointer(body)
    self.work = work
    self.taskCount = taskCount
    doneTasks.store(0, ordering: .relaxed)
    let loop = nextLoop()
    condition.broadcast()
    condition.unlock()
    takeTasks(of: loop, count: taskCount, as: work, body, worker: 0)
    waitForTasks(taskCount)
    meter.mark(.serial, worker: 0)
  }

  func stop() {
    condition.lock()
    stopping = true
    _ = nextLoop()
    condition.broadcast()
    condition.unlock()
  }

  /// Begins a loop; call while `condition` is locked.
  private func nextLoop() -> UInt64 {
    let loop = state.load(ordering: .relaxed) >> 32 + 1
    state.store(loop << 32, ordering: .releasing)
    return loop
  }

  private func takeTasks(
    of loop: UInt64, count: Int, as work: Work, _ body: UnsafePointer<ThreadPool.Body>, worker: Int
  ) {
    meter.mark(work, worker: worker)
    var seen = state.load(ordering: .relaxed)
    while seen >> 32 == loop && seen & 0xFFFF_FFFF < UInt64(count) {
      let (taken, now) = state.compareExchange(
        expected: seen, desired: seen + 1, ordering: .acquiringAndReleasing)
      guard taken else {
        seen = now
        continue
      }
      body.pointee(Int(seen & 0xFFFF_FFFF), worker)
      if doneTasks.wrappingAdd(1, ordering: .acquiringAndReleasing).newValue == count && worker != 0 {
        finished.lock()
        finished.signal()
        finished.unlock()
      }
      seen = state.load(ordering: .relaxed)
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

  func work(as worker: Int) {
    var seen: UInt64 = 0
    while true {
      _ = spin { state.load(ordering: .acquiring) >> 32 != seen }
      condition.lock()
      while state.load(ordering: .acquiring) >> 32 == seen { condition.wait() }
      seen = state.load(ordering: .acquiring) >> 32
      let pointer = stopping ? nil : job
      let count = taskCount
      let work = work
      condition.unlock()
      guard let pointer else { return }
      takeTasks(
        of: seen, count: count, as: work, pointer.assumingMemoryBound(to: ThreadPool.Body.self), worker: worker)
    }
  }
}
