import Foundation
import Memory
import Testing

/// A mapped file of `pages` pages that are not in the page cache.
private final class ColdFile {
  let bytes: UnsafeRawBufferPointer
  private let path: String
  private static let page = Int(sysconf(Int32(_SC_PAGESIZE)))

  init(pages: Int) throws {
    path = FileManager.default.temporaryDirectory.appendingPathComponent("pages-\(UUID().uuidString)").path
    try Data(count: pages * Self.page).write(to: URL(fileURLWithPath: path))
    let descriptor = open(path, O_RDONLY)
    fsync(descriptor)
    posix_fadvise(descriptor, 0, 0, Int32(POSIX_FADV_DONTNEED))
    bytes = UnsafeRawBufferPointer(
      start: try #require(mmap(nil, pages * Self.page, PROT_READ, MAP_PRIVATE, descriptor, 0)), count: pages * Self.page
    )
    close(descriptor)
  }

  deinit {
    munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count)
    unlink(path)
  }

  /// Which pages are in the page cache, or on their way into it.
  var cached: [Bool] {
    var present = [UInt8](repeating: 0, count: bytes.count / Self.page)
    mincore(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count, &present)
    return present.map { $0 & 1 != 0 }
  }

  /// Whether the pages of the page cache come to be as they should; a device that is slow has a minute.
  func waits(_ isDone: ([Bool]) -> Bool) -> Bool {
    for _ in 0..<60_000 {
      if isDone(cached) { return true }
      usleep(1000)
    }
    return false
  }

  func touch(page: Int) -> UInt8 { bytes[page * Self.page] }

  /// Some file systems, such as those in memory, have nothing that is not cached.
  var isCold: Bool { !cached.contains(true) }
}

/// More than any device's read-ahead, which bounds what the kernel reads for a single request.
@Test func readAheadBringsEveryPage() throws {
  let file = try ColdFile(pages: 1 << 13)
  guard file.isCold else { return }
  MappedPages([file.bytes]).readAhead()
  #expect(file.waits { !$0.contains(false) })
}

@Test func readAheadStopsWhereItIsTold() throws {
  let file = try ColdFile(pages: 1 << 13)
  guard file.isCold else { return }
  MappedPages([file.bytes]).readAhead(most: file.bytes.count / 4)
  // asked for last, so what was asked for before it is there as well, or nearly
  MappedPages([UnsafeRawBufferPointer(rebasing: file.bytes.suffix(64))]).readAhead()
  #expect(file.waits { $0.prefix(1 << 11).allSatisfy { $0 } && $0.last == true })
  #expect(file.cached[(1 << 11)..<(1 << 13) - 1].allSatisfy { !$0 })
}

@Test func nothingButAnnouncedPagesIsRead() throws {
  let file = try ColdFile(pages: 1 << 13)
  guard file.isCold else { return }
  MappedPages([file.bytes]).expect(.announced)
  #expect(file.touch(page: 4096) == 0)
  #expect(file.cached.count { $0 } < 16)
  MappedPages([file.bytes]).expect(.observed)
  #expect(file.touch(page: 100) == 0)
  #expect(file.cached.count { $0 } >= 16)
}

/// Memory that is free stays of use: pages that come back come from the page cache.
@Test func droppedPagesStayInThePageCache() throws {
  let file = try ColdFile(pages: 256)
  let pages = MappedPages([file.bytes])
  for page in 0..<256 { #expect(file.touch(page: page) == 0) }
  pages.drop()
  #expect(file.cached.allSatisfy { $0 })
}

@Test func touchedPagesAreCachedAndEvictedOnesAreNot() throws {
  let file = try ColdFile(pages: 1024)
  guard file.isCold else { return }
  let pages = MappedPages([file.bytes])
  #expect(pages.cachedByteCount == 0)
  #expect(pages.touch() == 0)
  #expect(pages.cachedByteCount == file.bytes.count)
  pages.evict()
  // a few pages may still lie in a list of another processor, where they cannot be taken
  #expect(pages.cachedByteCount < file.bytes.count / 4)
}

/// A fault may bring in all of an aligned block; what lies beside the tensor belongs to others and must not go.
@Test func pagesAreWidenedToBlocksInsideOfTheirTensor() {
  let page = Int(sysconf(Int32(_SC_PAGESIZE)))
  func memory(_ pages: Range<Int>) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(
      start: UnsafeRawPointer(bitPattern: (1 << 30) + pages.lowerBound * page), count: pages.count * page)
  }
  let tensor = [memory(3..<70)]
  for (pages, widened) in [(20..<21, 16), (4..<5, 13), (69..<70, 6), (31..<33, 32)] {
    #expect(MappedPages([memory(pages)]).widened(to: 16 * page, within: tensor).byteCount == widened * page)
  }
}
