/// Numbers that are appended once and then read in any order: few in memory, many in a mapped file.
public final class MappedList<Element: FixedWidthInteger & Sendable>: @unchecked Sendable {
  // @unchecked: it changes only until it is sealed, and is shared after that.

  /// Where the file is.
  public enum Place: Sendable {
    /// In a folder, without a name; made only where there are more elements than memory takes.
    case unnamed(directory: String)
    case file(String)
  }

  private let place: Place
  private let memoryCount: Int
  private var memory: [Element] = []
  private var output: OutputFile?
  private var mapped: MappedFile?
  public private(set) var count = 0

  private static var stride: Int { MemoryLayout<Element>.stride }

  /// An empty list.
  ///
  /// - Parameter memoryCount: elements that wait in memory
  public init(_ place: Place, memoryCount: Int = 1 << 16) {
    self.place = place
    self.memoryCount = memoryCount
  }

  /// The list that a file holds.
  /// - Throws: `FileError`, also where the file has another length
  public init(mapping path: String, count: Int) throws {
    place = .file(path)
    memoryCount = 0
    let mapped = try MappedFile(path: path)
    let (bytes, overflows) = count.multipliedReportingOverflow(by: Self.stride)
    guard !overflows, mapped.byteCount == bytes else {
      throw FileError.cannotOpen(file: path, reason: "has \(mapped.byteCount) bytes, expected \(count) numbers")
    }
    self.mapped = mapped
    self.count = count
  }

  public func append(_ element: Element) throws {
    memory.append(element)
    count += 1
    if memory.count >= memoryCount { try write() }
  }

  public func append(contentsOf elements: [Element]) throws {
    memory += elements
    count += elements.count
    if memory.count >= memoryCount { try write() }
  }

  private func write() throws {
    if output == nil {
      switch place {
      case .unnamed(let directory): output = try OutputFile(unnamedIn: directory)
      case .file(let path): output = try OutputFile(path: path)
      }
    }
    try memory.withUnsafeBytes { try output?.append($0) }
    memory.removeAll(keepingCapacity: true)
  }

  /// Ends the appending. A file with a name is on the disk afterwards.
  public func seal() throws {
    if case .file = place {
      try write()
      try output?.finish()
    } else if output != nil {
      try write()
    }
    guard let output else { return }
    memory = []
    mapped = try output.mapped()
    self.output = nil
  }

  /// After `seal`.
  public subscript(index: Int) -> Element {
    precondition(index >= 0 && index < count, "an element of the list")
    guard let mapped else { return memory[index] }
    return mapped.bytes.loadUnaligned(fromByteOffset: index * Self.stride, as: Element.self)
  }

  /// The bytes of some elements, after `seal`.
  public func withBytes<Result>(_ range: Range<Int>, _ body: (UnsafeRawBufferPointer) throws -> Result) rethrows
    -> Result
  {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "elements of the list")
    let bytes = range.lowerBound * Self.stride..<range.upperBound * Self.stride
    guard let mapped else { return try memory.withUnsafeBytes { try body(.init(rebasing: $0[bytes])) } }
    return try body(UnsafeRawBufferPointer(rebasing: mapped.bytes[bytes]))
  }

  /// Gives the pages of the file back; they are read again when touched.
  public func dropPages() {
    if let mapped { mapped.dropPages(offset: 0, count: mapped.byteCount) }
  }

  /// Bytes of memory that the list holds, pages of files aside.
  public var residentByteCount: Int { memory.capacity * Self.stride }
}
