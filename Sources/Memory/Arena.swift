import Foundation

/// What the planner counts separately, in the order in which it is printed.
public enum MemoryKind: String, Sendable, CaseIterable {
  case weights, adapter, gradients, optimizer, activations, recomputation, attention, head, panels, data, process
}

/// One line of a memory plan.
public struct PlannedBuffer: Sendable, Equatable {
  public let name: String
  public let kind: MemoryKind
  public let byteCount: Int

  public init(name: String, kind: MemoryKind, byteCount: Int) {
    self.name = name
    self.kind = kind
    self.byteCount = byteCount
  }
}

/// Owner of every buffer of a run.
///
/// An arena first reserves addresses, not memory: `allocate` hands out addresses and records name, kind and size, and
/// nothing is resident until `commit`. So a plan is made by building the workspace of a candidate on an uncommitted
/// arena and reading `buffers`; the figures that are added up are by construction those that are handed out.
public final class Arena {
  /// What went wrong with the operating system's memory calls.
  public enum Failure: Error, CustomStringConvertible {
    case cannotReserve(byteCount: Int, reason: String)
    case cannotCommit(byteCount: Int, reason: String)

    public var description: String {
      switch self {
      case .cannotReserve(let byteCount, let reason):
        "cannot reserve \(byteCount >> 20) MiB of addresses: \(reason); check `ulimit -v`"
      case .cannotCommit(let byteCount, let reason):
        "cannot get \(byteCount >> 20) MiB of memory: \(reason); give a smaller --max-mem or stop other programs"
      }
    }
  }

  private static let alignment = 64
  /// Bytes of a large page on x86-64 and, with pages of 4 KiB, on 64-bit ARM.
  private static let largePage = 2 << 20
  private let mapping: UnsafeMutableRawBufferPointer
  private let base: UnsafeMutableRawPointer
  private let reservedByteCount: Int
  private var used = 0
  private var committed = 0

  /// Every buffer handed out so far, in order.
  public private(set) var buffers: [PlannedBuffer] = []

  /// - Parameter reservedByteCount: addresses to reserve; costs no memory. Buffers beyond it are a programming error.
  public init(reservedByteCount: Int = 1 << 36) throws {
    let byteCount = reservedByteCount + Self.largePage
    let address = mmap(nil, byteCount, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let address, address != MAP_FAILED else {
      throw Failure.cannotReserve(byteCount: reservedByteCount, reason: String(cString: strerror(errno)))
    }
    mapping = UnsafeMutableRawBufferPointer(start: address, count: byteCount)
    base = address.alignedUp(toMultipleOf: Self.largePage)
    self.reservedByteCount = reservedByteCount
  }

  deinit { munmap(mapping.baseAddress, mapping.count) }

  /// Sum of all buffers, in bytes.
  public var byteCount: Int { used }

  /// Hands out a 64-byte aligned buffer. Its memory is zero and usable after `commit`.
  public func allocate(_ name: String, kind: MemoryKind, byteCount: Int) -> UnsafeMutableRawPointer {
    let size = (byteCount + Self.alignment - 1) / Self.alignment * Self.alignment
    precondition(byteCount >= 0 && used + size <= reservedByteCount, "buffer \(name) does not fit the arena")
    let address = base + used
    used += size
    buffers.append(PlannedBuffer(name: name, kind: kind, byteCount: size))
    return address
  }

  /// Bytes of each kind that are resident now: a page belongs to the first buffer on it.
  public var residentByteCountByKind: [MemoryKind: Int] {
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    var present = [UInt8](repeating: 0, count: committed / page)
    guard committed > 0, mincore(base, committed, &present) == 0 else { return [:] }
    var result: [MemoryKind: Int] = [:]
    var index = 0
    var end = 0
    for buffer in buffers {
      end += buffer.byteCount
      while index < present.count, index * page < end {
        if present[index] & 1 != 0 { result[buffer.kind, default: 0] += page }
        index += 1
      }
    }
    return result
  }

  /// Makes every buffer handed out so far usable.
  public func commit() throws {
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let end = (used + page - 1) / page * page
    guard end > committed else { return }
    if mprotect(base + committed, end - committed, PROT_READ | PROT_WRITE) != 0 {
      throw Failure.cannotCommit(byteCount: end - committed, reason: String(cString: strerror(errno)))
    }
    // Products write narrow stripes of long rows, each in a page of its own. Only whole large pages: more than was handed
    // out never becomes resident. A kernel without them may refuse.
    let start = committed / Self.largePage * Self.largePage
    let whole = end / Self.largePage * Self.largePage
    if whole > start { _ = madvise(base + start, whole - start, MADV_HUGEPAGE) }
    committed = end
  }
}
