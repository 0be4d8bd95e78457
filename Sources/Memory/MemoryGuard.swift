import Dispatch
import Glibc
import Synchronization

/// Memory that a run was promised to stay within, and did not.
public struct BudgetExceeded: Error, CustomStringConvertible {
  let resident: Int
  let budget: Int
  let checkpoint: String

  /// - Parameters:
  ///   - resident: bytes that the process has
  ///   - budget: bytes that it was to have at most
  ///   - checkpoint: folder that holds the state
  public init(resident: Int, budget: Int, checkpoint: String) {
    self.resident = resident
    self.budget = budget
    self.checkpoint = checkpoint
  }

  public var description: String {
    "the process uses \(ByteCount.text(resident)) of \(ByteCount.text(budget)): stopped before the system stops it\n"
      + "       the state is in \(checkpoint); go on with --resume and a larger --max-mem"
  }
}

/// Looks at the memory of the process and of the machine while a run goes on, ten times a second. When either gets short,
/// the run has to give something up, such as weights that stay in memory.
public final class MemoryGuard: Sendable {
  /// Where the figures come from.
  public struct Readings: Sendable {
    /// Resident bytes of the process.
    let resident: @Sendable () -> Int
    /// Whether the machine is close to swapping or to killing something.
    let machineIsShort: @Sendable () -> Bool

    public init(resident: @escaping @Sendable () -> Int, machineIsShort: @escaping @Sendable () -> Bool) {
      self.resident = resident
      self.machineIsShort = machineIsShort
    }

    /// What the kernel says.
    public static let kernel = Readings(
      resident: { ProcessMemory.residentBytes }, machineIsShort: { MachineMemory.isShort })
  }

  /// Between two looks, in microseconds.
  private static let pause: UInt32 = 100_000
  /// Looks to one at the machine, which changes more slowly.
  private static let looksPerMachine = 20

  /// What there is to say about the machine.
  private enum Warning: UInt8, AtomicRepresentable {
    case none, due, given
  }

  private let budget: Int?
  private let readings: Readings
  private let yieldToOthers: @Sendable () -> Void
  private let isRunning = Atomic<Bool>(true)
  private let warning = Atomic<Warning>(.none)
  private let looks = Atomic<Int>(0)

  /// - Parameters:
  ///   - budget: bytes for the whole process; `nil` watches the machine alone
  ///   - yieldToOthers: gives up what need not stay in memory, for good; called from a thread of the guard, and again while
  ///     memory is short
  public init(budget: Int?, readings: Readings = .kernel, yieldToOthers: @escaping @Sendable () -> Void) {
    self.budget = budget
    self.readings = readings
    self.yieldToOthers = yieldToOthers
  }

  /// Looks from now on until `stop`, in a thread of its own.
  public func start() {
    DispatchQueue(label: "memory guard").async { [self] in
      while isRunning.load(ordering: .relaxed) {
        usleep(Self.pause)
        look()
      }
    }
  }

  /// Ends the looking.
  public func stop() { isRunning.store(false, ordering: .relaxed) }

  /// Looks once, at the machine in every twentieth look.
  public func look() {
    if let budget, readings.resident() > budget { yieldToOthers() }
    let count = looks.wrappingAdd(1, ordering: .relaxed).newValue
    if count % Self.looksPerMachine == 0, readings.machineIsShort() {
      _ = warning.compareExchange(expected: .none, desired: .due, ordering: .relaxed)
      yieldToOthers()
    }
  }

  /// True once in a run, after the machine has become short of memory: what is given up then stays so.
  public func takeWarning() -> Bool {
    warning.compareExchange(expected: .due, desired: .given, ordering: .relaxed).exchanged
  }

  /// Resident bytes if they are more than was promised, after everything that can be given back was.
  ///
  /// - Parameter giveBack: drops what comes back when it is touched
  public func excess(givingBack giveBack: () -> Void) -> Int? {
    guard let budget, readings.resident() > budget else { return nil }
    yieldToOthers()
    giveBack()
    ProcessMemory.trim()
    let resident = readings.resident()
    return resident > budget ? resident : nil
  }
}
