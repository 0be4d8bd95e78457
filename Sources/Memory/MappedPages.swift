import Glibc

/// Pages of mapped files that are used together, such as the weights of one layer. They come in when they are touched
/// and can be dropped again; a view that owns nothing.
public struct MappedPages: @unchecked Sendable {
  // @unchecked: plain addresses of memory that is mapped read-only.

  /// Ascending, whole pages, not overlapping.
  private let ranges: [Range<UInt>]

  private static let page = UInt(MemoryPage.byteCount)

  /// - Parameter pieces: memory inside mappings of files; whoever mapped them keeps them mapped. Pages that hold other
  ///   things as well belong to it.
  public init(_ pieces: [UnsafeRawBufferPointer]) {
    var merged: [Range<UInt>] = []
    let ascending = pieces.compactMap { piece -> Range<UInt>? in
      guard let base = piece.baseAddress, !piece.isEmpty else { return nil }
      return UInt(bitPattern: base)..<UInt(bitPattern: base) + UInt(piece.count)
    }.sorted { $0.lowerBound < $1.lowerBound }
    for range in ascending {
      // a gap below a page, such as a header between two tensors, is taken along
      if let last = merged.last, range.lowerBound < last.upperBound + Self.page {
        merged[merged.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
      } else {
        merged.append(range)
      }
    }
    ranges = merged.map { range in
      let end = (range.upperBound + Self.page - 1) / Self.page * Self.page
      return range.lowerBound / Self.page * Self.page..<end
    }
  }

  /// The same with all that lies in aligned blocks with them, inside of other memory.
  ///
  /// - Parameters:
  ///   - alignment: bytes, a power of two
  ///   - pieces: memory inside mappings of files, of which these pages are parts
  public func widened(to alignment: Int, within pieces: [UnsafeRawBufferPointer]) -> MappedPages {
    let (whole, mask) = (MappedPages(pieces).ranges, UInt(alignment - 1))
    return MappedPages(
      ranges: ranges.map { range in
        let around = whole.first { $0.overlaps(range) } ?? range
        return max(
          range.lowerBound & ~mask, around.lowerBound)..<min((range.upperBound + mask) & ~mask, around.upperBound)
      })
  }

  private init(ranges: [Range<UInt>]) { self.ranges = ranges }

  /// Bytes of all pages: what is resident when each has been touched.
  public var byteCount: Int { ranges.reduce(0) { $0 + $1.count } }

  /// How the kernel learns which pages will be touched.
  public enum Access: Sendable {
    /// From the touches: it reads around what is missing, and keeps longer what was touched more than once.
    case observed
    /// From `readAhead`: it reads nothing else, and gives up first what was read first.
    case announced
  }

  /// Sets how the kernel learns which of the pages will be touched from now on.
  public func expect(_ access: Access) { advise(access == .observed ? MADV_NORMAL : MADV_RANDOM) }

  /// Takes the pages out of this process's memory; they are mapped, or read, again when touched. The page cache keeps
  /// them as long as nothing else needs the memory.
  public func drop() {
    advise(Self.coldAdvice)
    advise(MADV_DONTNEED)
  }

  /// Starts to read the pages from storage, and waits only where the device takes no more requests; does not make them
  /// resident in this process.
  ///
  /// - Parameter most: bytes, from the beginning, to which this is restricted
  public func readAhead(most: Int = .max) {
    var left = most
    for range in ranges where left > 0 {
      let end = min(range.count, left)
      for offset in stride(from: 0, to: end, by: Self.readAheadPiece) {
        let start = UnsafeMutableRawPointer(bitPattern: range.lowerBound + UInt(offset))
        madvise(start, min(end - offset, Self.readAheadPiece), MADV_WILLNEED)
      }
      left -= end
    }
  }

  /// Brings the pages into this process's memory, one after the other.
  /// - Returns: a sum of some of their bytes, of no use but that it takes a look at each page
  @discardableResult
  public func touch() -> Int {
    var sum = 0
    for range in ranges {
      for address in stride(from: range.lowerBound, to: range.upperBound, by: Int(Self.page)) {
        sum += UnsafePointer<UInt8>(bitPattern: address).map { Int($0.pointee) } ?? 0
      }
    }
    return sum
  }

  /// Bytes of the pages that are in the page cache. Where the kernel does not tell this user, which is the case for a file
  /// that he may not write, it says all of them; 0 if it says nothing.
  public var cachedByteCount: Int {
    ranges.reduce(0) { sum, range in
      var present = [UInt8](repeating: 0, count: range.count / Int(Self.page))
      guard mincore(UnsafeMutableRawPointer(bitPattern: range.lowerBound), range.count, &present) == 0 else {
        return sum
      }
      return sum + present.count { $0 & 1 != 0 } * Int(Self.page)
    }
  }

  /// Takes the pages out of this process's memory and of the page cache, where the kernel lets this user.
  public func evict() {
    if cachedByteCount > 0 { touch() }  // only what is mapped is evicted
    advise(Self.pageOutAdvice)
    advise(MADV_DONTNEED)
  }

  /// Of a longer range the kernel reads only as much as the device's read-ahead, which by default is this.
  private static let readAheadPiece = 128 << 10

  /// MADV_COLD: pages that reclaim would spare are no longer spared. Before Linux 5.4 nothing happens.
  private static let coldAdvice: Int32 = 20

  /// MADV_PAGEOUT. Before Linux 5.4 nothing happens.
  private static let pageOutAdvice: Int32 = 21

  private func advise(_ advice: Int32) {
    for range in ranges { madvise(UnsafeMutableRawPointer(bitPattern: range.lowerBound), range.count, advice) }
  }
}
