import Memory
import Synchronization
import Testing

/// A process and a machine that are as short of memory as a test wants, and what the guard did about it.
private final class Board: Sendable {
  let resident: Atomic<Int>
  let isShort = Atomic<Bool>(false)
  let machineLooks = Atomic<Int>(0)
  let yields = Atomic<Int>(0)

  init(resident: Int) { self.resident = Atomic(resident) }

  func memoryGuard(budget: Int?) -> MemoryGuard {
    let readings = MemoryGuard.Readings(
      resident: { [self] in resident.load(ordering: .relaxed) },
      machineIsShort: { [self] in
        machineLooks.wrappingAdd(1, ordering: .relaxed)
        return isShort.load(ordering: .relaxed)
      })
    return MemoryGuard(budget: budget, readings: readings) { [self] in yields.wrappingAdd(1, ordering: .relaxed) }
  }

  var yieldCount: Int { yields.load(ordering: .relaxed) }
}

struct MemoryGuardTests {
  @Test func aBrokenBudgetMakesTheRunYield() {
    let board = Board(resident: 100)
    let guardian = board.memoryGuard(budget: 100)
    guardian.look()
    #expect(board.yieldCount == 0)
    board.resident.store(101, ordering: .relaxed)
    guardian.look()
    #expect(board.yieldCount == 1)
    // not the machine's fault
    #expect(!guardian.takeWarning())
  }

  @Test func aShortMachineMakesTheRunYieldWithoutABudget() {
    let board = Board(resident: 100)
    let guardian = board.memoryGuard(budget: nil)
    board.isShort.store(true, ordering: .relaxed)
    for _ in 0..<19 { guardian.look() }
    #expect(board.yieldCount == 0 && board.machineLooks.load(ordering: .relaxed) == 0)
    guardian.look()
    #expect(board.yieldCount == 1)
  }

  @Test func theWarningIsGivenOnceHoweverLongTheMachineIsShort() {
    let board = Board(resident: 100)
    let guardian = board.memoryGuard(budget: nil)
    #expect(!guardian.takeWarning())
    board.isShort.store(true, ordering: .relaxed)
    for _ in 0..<20 { guardian.look() }
    #expect(guardian.takeWarning())
    #expect(!guardian.takeWarning())
    for _ in 0..<40 { guardian.look() }
    #expect(!guardian.takeWarning())
    #expect(board.yieldCount == 3)
  }

  @Test func excessIsWhatIsLeftAfterEverythingWasGivenBack() {
    let board = Board(resident: 300)
    let guardian = board.memoryGuard(budget: 100)
    #expect(guardian.excess { board.resident.store(90, ordering: .relaxed) } == nil)
    #expect(board.yieldCount == 1)
    board.resident.store(300, ordering: .relaxed)
    #expect(guardian.excess { board.resident.store(200, ordering: .relaxed) } == 200)
    #expect(board.yieldCount == 2)
  }

  @Test func nothingIsGivenBackWithinTheBudget() {
    let board = Board(resident: 100)
    var gaveBack = false
    #expect(board.memoryGuard(budget: 100).excess { gaveBack = true } == nil)
    #expect(board.memoryGuard(budget: nil).excess { gaveBack = true } == nil)
    #expect(!gaveBack && board.yieldCount == 0)
  }

  @Test func theThreadLooksUntilItIsStopped() async throws {
    let board = Board(resident: 2)
    let guardian = board.memoryGuard(budget: 1)
    guardian.start()
    while board.yieldCount < 2 { try await Task.sleep(nanoseconds: 1_000_000) }
    guardian.stop()
  }

  @Test func theErrorSaysWhatWasUsedAndWhatToDo() {
    let text = BudgetExceeded(resident: 3 << 30, budget: 2 << 30, checkpoint: "out/checkpoint-7").description
    #expect(text.contains("3.0 GiB of 2.0 GiB"))
    #expect(text.contains("out/checkpoint-7") && text.contains("--resume"))
  }
}
