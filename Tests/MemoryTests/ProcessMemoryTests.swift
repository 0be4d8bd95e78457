import Foundation
import Memory
import Testing

/// The figures are of the whole process, in which other tests run at the same time.
@Suite(.serialized) struct ProcessMemoryTests {
  @Test func touchedMemoryIsResidentAndRaisesThePeak() throws {
    let byteCount = 256 << 20
    #expect(ProcessMemory.residentBytes > 0 && ProcessMemory.residentFileBytes > 0)
    let (arena, address) = try Arena.filled { $0.allocate("block", kind: .data, byteCount: byteCount) }
    for offset in stride(from: 0, to: byteCount, by: 4096) { (address + offset).storeBytes(of: 1, as: UInt8.self) }
    #expect(ProcessMemory.residentBytes >= byteCount)
    #expect(ProcessMemory.peakBytes >= byteCount)
    #expect(arena.residentByteCountByKind[.data] == byteCount)
  }

  @Test func addressesAreMoreThanWhatIsResident() {
    #expect(ProcessMemory.addressBytes > ProcessMemory.residentBytes)
  }

  @Test func peakBeginsAnewWhereTheKernelLetsIt() throws {
    do {
      let (arena, address) = try Arena.filled { $0.allocate("block", kind: .data, byteCount: 512 << 20) }
      for offset in stride(from: 0, to: arena.byteCount, by: 4096) {
        (address + offset).storeBytes(of: 1, as: UInt8.self)
      }
    }
    let peak = ProcessMemory.peakBytes
    ProcessMemory.resetPeak()
    #expect(ProcessMemory.peakBytes < peak || access("/proc/self/clear_refs", W_OK) != 0)
  }

  @Test func storageReadsAreCounted() throws {
    guard let before = ProcessMemory.storageBytesRead else { return }
    _ = try Data(contentsOf: URL(fileURLWithPath: "/proc/self/exe")).count
    #expect(try #require(ProcessMemory.storageBytesRead) >= before)
  }
}
