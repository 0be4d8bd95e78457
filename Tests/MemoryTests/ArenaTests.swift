import Foundation
import Memory
import Testing

private let page = sysconf(Int32(_SC_PAGESIZE))

/// One after the other, because some look at figures of the whole process.
@Suite(.serialized) struct ArenaTests {
  /// Buffers of odd sizes, as a workspace would have them.
  private static let sizes = [1, 63, 64, 65, 0, 4096, 100_000, 3 << 20]

  @discardableResult
  private func build(_ arena: Arena) -> [UnsafeMutableRawPointer] {
    Self.sizes.enumerated().map { arena.allocate("buffer \($0)", kind: .panels, byteCount: $1) }
  }

  @Test func bothModesHandOutTheSameBuffers() throws {
    let count = Arena.counting
    build(count)
    let real = try Arena(reserving: count.byteCount)
    build(real)
    #expect(count.isCounting && !real.isCounting)
    #expect(count.buffers == real.buffers)
    #expect(count.byteCount == real.byteCount)
    #expect(real.buffers.map(\.byteCount) == [64, 64, 64, 128, 0, 4096, 100_032, 3 << 20])
    #expect(real.byteCount == real.buffers.reduce(0) { $0 + $1.byteCount })
  }

  @Test func addressesAreAlignedInBothModes() throws {
    let count = Arena.counting
    for address in build(count) { #expect(UInt(bitPattern: address) % UInt(Arena.alignment) == 0) }
    let real = try Arena(reserving: count.byteCount)
    let addresses = build(real)
    for address in addresses { #expect(UInt(bitPattern: address) % UInt(Arena.alignment) == 0) }
    // a large page can begin where the arena does
    #expect(UInt(bitPattern: addresses[0]) % (2 << 20) == 0)
  }

  @Test func buffersLieEndToEndAreZeroAndCanBeWritten() throws {
    let (arena, addresses) = try Arena.filled { build($0) }
    var expected = addresses[0]
    for (address, buffer) in zip(addresses, arena.buffers) {
      #expect(address == expected)
      expected = address + buffer.byteCount
      let bytes = UnsafeMutableRawBufferPointer(start: address, count: buffer.byteCount)
      #expect(bytes.allSatisfy { $0 == 0 })
      for index in bytes.indices { bytes[index] = 7 }
    }
  }

  @Test func countingKnowsNoSizeThatIsTooLarge() {
    let arena = Arena.counting
    let sizes = [1 << 40, 1 << 50, 1 << 62, Int.max, Int.max - 1, 1]
    for (index, size) in sizes.enumerated() {
      let address = arena.allocate("\(index)", kind: .activations, byteCount: size)
      #expect(UInt(bitPattern: address) % 64 == 0)
    }
    let counted: [Int] = [1 << 40, 1 << 50, 1 << 60, 1 << 60, 1 << 60, 64]
    #expect(arena.buffers.map(\.byteCount) == counted)
    #expect(arena.byteCount == Arena.mostByteCount)
    let plan = MemoryPlan(buffers: arena.buffers)
    #expect(plan.byteCount == Arena.mostByteCount)
    #expect(plan.byteCountByKind.map(\.byteCount) == [Arena.mostByteCount])
  }

  /// A terabyte counts without a page of memory or an address.
  @Test func countingTakesNoAddresses() {
    let before = addressBytes()
    let arenas = (0..<64).map { _ in Arena.counting }
    for arena in arenas { _ = arena.allocate("large", kind: .activations, byteCount: 1 << 40) }
    #expect(addressBytes() - before < 1 << 40)
    #expect(arenas.allSatisfy { $0.residentByteCountByKind.isEmpty })
  }

  @Test func anArenaReservesWhatWasCountedAndNoMore() throws {
    let byteCount = 40 << 30
    let before = addressBytes()
    let arena = try Arena(reserving: byteCount)
    #expect((byteCount - (4 << 30)..<byteCount + (4 << 30)).contains(addressBytes() - before))
    _ = arena.allocate("all of it", kind: .activations, byteCount: byteCount)
    #expect(arena.byteCount == byteCount)
    #expect(arena.residentByteCountByKind.isEmpty)
  }

  @Test func addressesComeBackWithTheArena() throws {
    // more than there are of them, if they did not: 47 bits
    for _ in 0..<64 { _ = try Arena(reserving: 1 << 42) }
  }

  @Test func moreThanThereAreAddressesIsRefused() {
    #expect {
      _ = try Arena(reserving: .max)
    } throws: { error in
      "\(error)".contains("8.0 EiB of addresses") && "\(error)".contains("ulimit -v")
    }
  }

  @Test func anEmptyArenaIsOne() throws {
    let (arena, _) = try Arena.filled { _ in }
    #expect(arena.byteCount == 0 && arena.buffers.isEmpty && arena.residentByteCountByKind.isEmpty)
  }

  @Test func whatWasBuiltComesFromTheArenaThatIsReturned() throws {
    var builds: [Bool] = []
    let (arena, address) = try Arena.filled { arena in
      builds.append(arena.isCounting)
      return arena.allocate("one", kind: .adapter, byteCount: 64)
    }
    #expect(builds == [true, false])
    address.storeBytes(of: 5, as: Int.self)
    #expect(arena.buffers.count == 1 && address.load(as: Int.self) == 5)
  }

  @Test func anErrorOfTheBuildIsThrownBeforeAnythingIsReserved() {
    struct Refused: Error {}
    var count = 0
    #expect(throws: Refused.self) {
      _ = try Arena.filled { _ in
        count += 1
        throw Refused()
      }
    }
    #expect(count == 1)
  }

  @Test func touchedPagesCountForTheKindOfTheirFirstBuffer() throws {
    // below a large page, so that each touch makes one page resident
    let (arena, addresses) = try Arena.filled { arena in
      [
        arena.allocate("a", kind: .adapter, byteCount: 2 * page + 64),
        arena.allocate("b", kind: .gradients, byteCount: 2 * page),
        arena.allocate("c", kind: .optimizer, byteCount: 4 * page),
      ]
    }
    #expect(arena.residentByteCountByKind.isEmpty)
    for (address, offset) in [
      (addresses[0], 0), (addresses[0], 2 * page), (addresses[1], page), (addresses[2], 3 * page),
    ] {
      (address + offset).storeBytes(of: 1, as: UInt8.self)
    }
    // the third page holds the end of a and the beginning of b
    #expect(arena.residentByteCountByKind == [.adapter: 2 * page, .gradients: page, .optimizer: page])
  }

  @Test func moreCanBeCommittedLater() throws {
    let arena = try Arena(reserving: 1 << 20)
    let first = arena.allocate("first", kind: .adapter, byteCount: 100)
    try arena.commit()
    first.storeBytes(of: 1, as: Int.self)
    let second = arena.allocate("second", kind: .adapter, byteCount: 1 << 19)
    try arena.commit()
    (second + (1 << 19) - 8).storeBytes(of: 2, as: Int.self)
    #expect(first.load(as: Int.self) == 1)
  }
}

/// Address space of this process, which `ulimit -v` bounds.
private func addressBytes() -> Int { ProcessMemory.addressBytes }
