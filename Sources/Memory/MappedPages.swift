import Foundation

/// Pages of mapped files that are used together, such as the weights of one layer. They come in when they are touched
/// and can be dropped again; a view that owns nothing.
public struct MappedPages: @unchecked Sendable {
  // @unchecked: plain addresses of memory that is mapped read-only.

  /// Ascending, whole pages, not overlapping.
  private let ranges: [Range<UInt>]

  private static let page = UInt(sysconf(Int32(_SC_PAGESIZE)))

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

  /// Bytes of all pages: what is resident when each has been touched.
  public var byteCount: Int { ranges.reduce(0) { $0 + $1.count } }

  /// Takes the pages out of this process's memory; they are mapped, or read, again when touched.
  public func drop() { advise(MADV_DONTNEED) }

  /// Starts to read the pages from storage; does not wait and does not make them resident in this process.
  public func readAhead() { advise(MADV_WILLNEED) }

  private func advise(_ advice: Int32) {
    for range in ranges { madvise(UnsafeMutableRawPointer(bitPattern: range.lowerBound), range.count, advice) }
  }
}
