import Glibc

/// Owner of every buffer of a run, or the count of what a run would need.
///
/// Memory is laid out twice by the same code. A counting arena, from `counting`, records name, kind and size of each buffer
/// and has no memory: its addresses must not be touched, and no size is too large for it. So a plan is made by building the
/// workspace of a candidate on it and reading `buffers`. An arena from `init(reserving:)` then takes exactly what was counted:
/// the figures that are added up are by construction those that are handed out.
///
///     let (arena, workspace) = try Arena.filled { arena in try Workspace(..., arena: arena) }
public final class Arena {
  /// What went wrong with the operating system's memory calls.
  public enum Failure: Error, CustomStringConvertible {
    case cannotReserve(byteCount: Int, reason: String)
    case cannotCommit(byteCount: Int, reason: String)

    public var description: String {
      switch self {
      case .cannotReserve(let byteCount, let reason):
        "cannot reserve \(ByteCount.text(byteCount)) of addresses: \(reason); check `ulimit -v`"
      case .cannotCommit(let byteCount, let reason):
        "cannot get \(ByteCount.text(byteCount)) of memory: \(reason); give a smaller --max-mem or stop other programs"
      }
    }
  }

  /// Every buffer begins on a cache line.
  public static let alignment = 64

  /// Where counting stops: what is larger counts as this. Plain sums of a few such figures do not overflow.
  public static let mostByteCount = 1 << 60

  /// Bytes of a large page on x86-64 and, with pages of 4 KiB, on 64-bit ARM.
  private static let largePage = 2 << 20

  /// Addresses that were reserved; `nil` of an arena that only counts.
  private let reserved: ReservedAddresses?
  private var committed = 0

  /// Sum of all buffers, in bytes.
  public private(set) var byteCount = 0

  /// Every buffer handed out so far, in order.
  public private(set) var buffers: [PlannedBuffer] = []

  private init(reserved: ReservedAddresses?) { self.reserved = reserved }

  /// An arena that counts, and has neither memory nor addresses.
  public static var counting: Arena { Arena(reserved: nil) }

  /// An arena of so many bytes, the `byteCount` of one that counted them. They are reserved now, and usable after `commit`.
  /// Buffers beyond them are a programming error.
  public convenience init(reserving byteCount: Int) throws {
    self.init(reserved: try ReservedAddresses(byteCount: byteCount, alignment: Self.largePage))
  }

  /// An arena of addresses to spare, for code that counts nothing first.
  ///
  /// - Parameter reservedByteCount: costs no memory, but counts for `ulimit -v`
  public convenience init(reservedByteCount: Int = 1 << 36) throws { try self.init(reserving: reservedByteCount) }

  /// What `build` makes of an arena's buffers, on an arena that is as large as they are and is usable.
  ///
  /// - Parameter build: runs twice, on a counting arena and on that one; it hands out the same buffers both times, does
  ///   nothing else that lasts, and touches no memory
  public static func filled<Product>(_ build: (Arena) throws -> Product) throws -> (arena: Arena, product: Product) {
    let count = Arena.counting
    _ = try build(count)
    let arena = try Arena(reserving: count.byteCount)
    let product = try build(arena)
    try arena.commit()
    return (arena, product)
  }

  /// Whether this arena has no memory.
  public var isCounting: Bool { reserved == nil }

  /// Hands out a 64-byte aligned buffer. Its memory is zero, and usable after `commit`; of a counting arena it is none.
  public func allocate(_ name: String, kind: MemoryKind, byteCount: Int) -> UnsafeMutableRawPointer {
    precondition(byteCount >= 0, "buffer \(name) has a negative size")
    let size = min(byteCount, Self.mostByteCount).rounded(upToMultipleOf: Self.alignment)
    let offset = self.byteCount
    self.byteCount = min(offset + size, Self.mostByteCount)
    buffers.append(PlannedBuffer(name: name, kind: kind, byteCount: size))
    guard let reserved else { return Self.untouchable }
    precondition(size <= reserved.byteCount - offset, "buffer \(name) does not fit the arena")
    return reserved.base + offset
  }

  /// Counts buffers that another arena has counted, as if they were asked for again.
  public func count(_ buffers: [PlannedBuffer]) {
    precondition(isCounting, "only addresses that nobody touches can be handed out twice")
    for buffer in buffers { _ = allocate(buffer.name, kind: buffer.kind, byteCount: buffer.byteCount) }
  }

  /// The address of all buffers of counting arenas: aligned as the real ones are, and never mapped (`vm.mmap_min_addr` of
  /// Linux). It is the same for all of them, so that no sum of sizes has to fit the addresses.
  public static var untouchable: UnsafeMutableRawPointer {
    guard let address = UnsafeMutableRawPointer(bitPattern: 4096) else { preconditionFailure("4096 is not null") }
    return address
  }

  /// Bytes of each kind that are resident now: a page belongs to the first buffer on it.
  public var residentByteCountByKind: [MemoryKind: Int] {
    guard let reserved, committed > 0 else { return [:] }
    let page = MemoryPage.byteCount
    var present = [UInt8](repeating: 0, count: committed / page)
    guard mincore(reserved.base, committed, &present) == 0 else { return [:] }
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
    guard let reserved else { preconditionFailure("an arena that counts has no memory") }
    let end = byteCount.rounded(upToMultipleOf: MemoryPage.byteCount)
    guard end > committed else { return }
    if mprotect(reserved.base + committed, end - committed, PROT_READ | PROT_WRITE) != 0 {
      throw Failure.cannotCommit(byteCount: end - committed, reason: String(cString: strerror(errno)))
    }
    // Products write narrow stripes of long rows, each in a page of its own. Only whole large pages: more than was handed
    // out never becomes resident. A kernel without them may refuse.
    let start = committed / Self.largePage * Self.largePage
    let whole = end / Self.largePage * Self.largePage
    if whole > start { _ = madvise(reserved.base + start, whole - start, MADV_HUGEPAGE) }
    committed = end
  }
}

/// Addresses that nothing else gets and that no memory lies behind; given back when it goes.
private final class ReservedAddresses {
  let base: UnsafeMutableRawPointer
  let byteCount: Int

  /// - Parameters:
  ///   - byteCount: addresses from `base` on; whole pages are reserved
  ///   - alignment: of `base`; a power of two, and whole pages
  init(byteCount: Int, alignment: Int) throws {
    precondition(byteCount >= 0, "a negative number of addresses")
    let wanted = min(byteCount, Arena.mostByteCount).rounded(upToMultipleOf: MemoryPage.byteCount)
    // The kernel aligns to pages alone: what is in front of `base`, and behind the end, goes back.
    let mapped = wanted + alignment
    let address = mmap(nil, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let address, address != MAP_FAILED else {
      throw Arena.Failure.cannotReserve(byteCount: byteCount, reason: String(cString: strerror(errno)))
    }
    let base = address.alignedUp(toMultipleOf: alignment)
    let front = base - address
    if front > 0 { munmap(address, front) }
    if alignment > front { munmap(base + wanted, alignment - front) }
    self.base = base
    self.byteCount = wanted
  }

  deinit { if byteCount > 0 { munmap(base, byteCount) } }
}

/// The unit in which the kernel gives memory.
enum MemoryPage {
  static let byteCount = Int(sysconf(Int32(_SC_PAGESIZE)))
}

extension Int {
  /// The next multiple of `unit`, which must not be beyond the largest number.
  fileprivate func rounded(upToMultipleOf unit: Int) -> Int { (self + unit - 1) / unit * unit }
}
