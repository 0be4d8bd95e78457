import Architectures
import CZlib
import Formats

/// Tokenised samples one after the other, in memory or in a mapped file, and where each of them begins.
///
/// A sample takes 2 bytes a token where all ids are that small, and its labels a few bytes where they are what is to follow:
/// only which of the tokens are learnt is kept.
final class SampleStorage: @unchecked Sendable {
  // @unchecked: it changes only until it is sealed, and is shared after that.

  private let records: MappedList<UInt8>
  private let offsets: MappedList<UInt64>
  private let lengths: MappedList<UInt32>
  /// Checksums of all ids, and of the labels that are no ids to follow.
  private(set) var tokensChecksum = crc32_z(0, nil, 0)
  private(set) var labelsChecksum = crc32_z(0, nil, 0)
  private(set) var tokenCount = 0
  private(set) var labelCount = 0

  /// What the labels of a sample are.
  private enum Labels: UInt8 {
    /// The tokens themselves.
    case all
    /// The tokens themselves in some ranges, nothing between them.
    case ranges
    /// Others.
    case others
  }

  private enum Flag {
    static let wide: UInt8 = 1 << 4
    static let follows: UInt8 = 1 << 5
    static let types: UInt8 = 1 << 6
    static let targets: UInt8 = 1 << 7
    static let kinds: UInt8 = 3
  }

  static let fileNames = ["records", "offsets", "lengths"]

  /// - Parameter place: a folder for files without names, or for those of `fileNames`
  init(_ place: SamplePlace) {
    func list<T>(_ index: Int, _ type: T.Type, memory: Int) -> MappedList<T> {
      switch place {
      case .unnamed(let directory):
        MappedList(.unnamed(directory: directory), memoryCount: memory / MemoryLayout<T>.stride)
      case .folder(let path): MappedList(.file("\(path)/\(Self.fileNames[index])"), memoryCount: 1 << 16)
      }
    }
    records = list(0, UInt8.self, memory: 4 << 20)
    offsets = list(1, UInt64.self, memory: 1 << 20)
    lengths = list(2, UInt32.self, memory: 1 << 20)
  }

  /// What a folder holds.
  init(folder: String, count: Int, byteCount: Int, counts: (tokens: Int, labels: Int), checksums: (UInt, UInt)) throws {
    records = try MappedList(mapping: "\(folder)/\(Self.fileNames[0])", count: byteCount)
    offsets = try MappedList(mapping: "\(folder)/\(Self.fileNames[1])", count: count)
    lengths = try MappedList(mapping: "\(folder)/\(Self.fileNames[2])", count: count)
    (tokenCount, labelCount) = counts
    (tokensChecksum, labelsChecksum) = checksums
  }

  var count: Int { offsets.count }
  var byteCount: Int { records.count }

  /// Tokens of a sample.
  func length(_ index: Int) -> Int { Int(lengths[index]) }

  func append(_ sample: Sample) throws {
    try offsets.append(UInt64(records.count))
    try lengths.append(UInt32(sample.tokens.count))
    let isWide = sample.tokens.contains { $0 > Int32(UInt16.max) || $0 < 0 }
    let labels = Self.kind(of: sample)
    var flags = labels.kind.rawValue | (isWide ? Flag.wide : 0) | (sample.labelsFollow ? Flag.follows : 0)
    if !sample.typeIDs.isEmpty { flags |= Flag.types }
    if !sample.targets.isEmpty { flags |= Flag.targets }
    var bytes = [flags]
    func put<T: FixedWidthInteger>(_ value: T) { withUnsafeBytes(of: value.littleEndian) { bytes += $0 } }
    for token in sample.tokens {
      if isWide { put(token) } else { put(UInt16(token)) }
    }
    switch labels.kind {
    case .all: break
    case .ranges:
      put(UInt32(labels.ranges.count))
      for range in labels.ranges {
        put(UInt32(range.lowerBound))
        put(UInt32(range.upperBound))
      }
    case .others: for label in sample.labels { put(label) }
    }
    for type in sample.typeIDs { put(UInt16(type)) }
    if !sample.targets.isEmpty {
      put(UInt32(sample.targets.count))
      for target in sample.targets { put(target.bitPattern) }
    }
    try records.append(contentsOf: bytes)
    tokenCount += sample.tokens.count
    tokensChecksum = Self.add(sample.tokens, to: tokensChecksum)
    if !sample.labelsFollow {
      let others = sample.labels + sample.targets.map { Int32(bitPattern: $0.bitPattern) }
      labelCount += others.count
      labelsChecksum = Self.add(others, to: labelsChecksum)
    }
  }

  private static func add(_ values: [Int32], to sum: UInt) -> UInt {
    values.withUnsafeBytes { crc32_z(sum, $0.baseAddress?.assumingMemoryBound(to: UInt8.self), $0.count) }
  }

  private static func kind(of sample: Sample) -> (kind: Labels, ranges: [Range<Int>]) {
    var ranges: [Range<Int>] = []
    for (index, label) in sample.labels.enumerated() where label != Label.ignored {
      guard label == sample.tokens[index] else { return (.others, []) }
      if let last = ranges.last, last.upperBound == index {
        ranges[ranges.count - 1] = last.lowerBound..<index + 1
      } else {
        ranges.append(index..<index + 1)
      }
    }
    return ranges == [0..<sample.tokens.count] ? (.all, []) : (.ranges, ranges)
  }

  /// Ends the appending.
  func seal() throws {
    try records.seal()
    try offsets.seal()
    try lengths.seal()
  }

  /// A sample; what is damaged in its place is empty.
  func sample(_ index: Int) -> Sample {
    let start = Int(clamping: offsets[index])
    let end = index + 1 < count ? Int(clamping: offsets[index + 1]) : records.count
    guard start < end, end <= records.count else { return Sample(tokens: [], labels: []) }
    return records.withBytes(start..<end) { Self.decode($0, count: length(index)) } ?? Sample(tokens: [], labels: [])
  }

  private static func decode(_ bytes: UnsafeRawBufferPointer, count: Int) -> Sample? {
    var place = 1
    let flags = bytes[0]
    func take<T: FixedWidthInteger>(_ number: Int, _ type: T.Type) -> [T]? {
      let size = MemoryLayout<T>.size
      guard number >= 0, number <= (bytes.count - place) / size else { return nil }
      defer { place += number * size }
      return (0..<number).map {
        T(littleEndian: bytes.loadUnaligned(fromByteOffset: place + $0 * size, as: T.self))
      }
    }
    let isWide = flags & Flag.wide != 0
    guard let kind = Labels(rawValue: flags & Flag.kinds),
      let tokens = isWide ? take(count, Int32.self) : take(count, UInt16.self)?.map(Int32.init)
    else { return nil }
    var labels = kind == .all ? tokens : [Int32](repeating: Label.ignored, count: count)
    if kind == .ranges {
      guard let number = take(1, UInt32.self)?[0], let ends = take(2 * Int(number), UInt32.self) else { return nil }
      for pair in stride(from: 0, to: ends.count, by: 2) {
        let (first, end) = (Int(ends[pair]), Int(ends[pair + 1]))
        guard first <= end, end <= count else { return nil }
        labels[first..<end] = tokens[first..<end]
      }
    } else if kind == .others {
      guard let others = take(count, Int32.self) else { return nil }
      labels = others
    }
    var sample = Sample(tokens: tokens, labels: labels)
    sample.labelsFollow = flags & Flag.follows != 0
    if flags & Flag.types != 0 {
      guard let types = take(count, UInt16.self) else { return nil }
      sample.typeIDs = types.map(Int32.init)
    }
    if flags & Flag.targets != 0 {
      guard let number = take(1, UInt32.self)?[0], let bits = take(Int(number), UInt32.self) else { return nil }
      sample.targets = bits.map(Float.init(bitPattern:))
    }
    return sample
  }

  func dropPages() {
    records.dropPages()
    offsets.dropPages()
    lengths.dropPages()
  }
}

/// Where samples are kept that are too many for memory.
public enum SamplePlace: Sendable {
  /// In files without names in this folder.
  case unnamed(directory: String)
  /// In files of a folder.
  case folder(String)
}
