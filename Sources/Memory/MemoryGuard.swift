import Foundation
import Memory
import Synchronization
import Transformer

/// Memory that a run was promised to stay within, and did not.
public struct BudgetExceeded: Error, CustomStringConvertible {
  let resident: Int
  let budget: Int
  let checkpoint: String

  public var description: String {
    "the process uses \(ByteCount.text(resident)) of \(ByteCount.text(budget)): stopped before the system stops it\n"
      + "       the state is in \(checkpoint); go on with --resume and a larger --max-mem"
  }
}

/// Looks at the memory of the process and of the machine while a run goes on, ten times a second. When either gets short,
/// weights no longer stay in memory.
final class MemoryGuard: Sendable {
  private let budget: Int?
  private let residency: WeightResidency
  private let isRunning = Atomic<Bool>(true)
  private let machineIsShort = Atomic<Bool>(false)

  /// - Parameter budget: bytes for the whole process; `nil` watches the machine alone
  init(budget: Int?, residency: WeightResidency) {
    self.budget = budget
    self.residency = residency
  }

  func start() {
    let thread = Thread { [self] in
      var turn = 0
      while isRunning.load(ordering: .relaxed) {
        usleep(100_000)
        if let budget, ProcessMemory.residentBytes > budget { residency.yieldToOthers() }
        // the machine changes more slowly
        turn += 1
        if turn % 20 == 0, MachineMemory.isShort {
          machineIsShort.store(true, ordering: .relaxed)
          residency.yieldToOthers()
        }
      }
    }
    thread.stackSize = 256 << 10
    thread.start()
  }

  func stop() { isRunning.store(false, ordering: .relaxed) }

  /// True once, after the machine has become short of memory.
  func takeWarning() -> Bool { machineIsShort.exchange(false, ordering: .relaxed) }

  /// Resident bytes if they are more than was promised, after everything that can be given back was.
  func excess(givingBack giveBack: () -> Void) -> Int? {
    guard let budget, ProcessMemory.residentBytes > budget else { return nil }
    residency.yieldToOthers()
    giveBack()
    ProcessMemory.trim()
    let resident = ProcessMemory.residentBytes
    return resident > budget ? resident : nil
  }
}
