import Kernels
import Synchronization
import Testing

/// How many tasks of its loops ran.
private final class Tally: Sendable {
  private let count = Atomic<Int>(0)

  var value: Int { count.load(ordering: .relaxed) }

  func loop(_ tasks: Int, inOrder: Bool = false, on pool: ThreadPool) {
    pool.run(tasks, inOrder: inOrder) { _, _ in self.count.wrappingAdd(1, ordering: .relaxed) }
  }
}

@Suite struct ThreadPoolTests {
  @Test(arguments: [1, 2, 5]) func everyTaskRunsOnce(threads: Int) {
    let pool = ThreadPool(threadCount: threads)
    for tasks in [0, 1, 2, 7, 1000] {
      for inOrder in [false, true] {
        let tally = Tally()
        tally.loop(tasks, inOrder: inOrder, on: pool)
        #expect(tally.value == tasks)
      }
    }
  }

  @Test(arguments: [1, 2, 5]) func abandonedTasksAreLeftOut(threads: Int) {
    let pool = ThreadPool(threadCount: threads)
    let tally = Tally()
    var asked = 0
    func isAbandoned() -> Bool {
      asked += 1
      return asked > 3
    }
    func loops() {
      tally.loop(3, on: pool)
      tally.loop(1_000_000, on: pool)
      let left = tally.value
      #expect(left < 1_000_003, "the long loop ends early")
      tally.loop(1000, on: pool)
      tally.loop(1, on: pool)
      #expect(tally.value == left, "of later loops nothing begins")
    }
    pool.abandoning(when: isAbandoned, loops)
    #expect(asked <= 4, "it has said so once")
    let before = tally.value
    tally.loop(1000, on: pool)
    #expect(tally.value == before + 1000, "loops outside are whole")
    func never() -> Bool { false }
    pool.abandoning(when: never) { tally.loop(1000, on: pool) }
    #expect(tally.value == before + 2000, "and so are those that nobody abandons")
  }
}
