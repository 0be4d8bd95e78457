import CZlib
import Formats

/// Tokenised samples, or some of them in their order; they are read from where they are kept when they are asked for.
public struct SampleList: RandomAccessCollection, Sendable, Equatable {
  let storage: SampleStorage
  /// Places in the storage; all of them in order if `nil`.
  private let places: MappedList<UInt32>?

  init(_ place: SamplePlace) { self.init(SampleStorage(place)) }

  init(_ storage: SampleStorage) {
    self.storage = storage
    places = nil
  }

  private init(_ storage: SampleStorage, places: MappedList<UInt32>) {
    self.storage = storage
    self.places = places
  }

  public var startIndex: Int { 0 }
  public var endIndex: Int { places?.count ?? storage.count }
  public subscript(index: Int) -> Sample { storage.sample(place(index)) }

  private func place(_ index: Int) -> Int { places.map { Int($0[index]) } ?? index }

  /// Tokens of a sample, without reading it.
  public func length(_ index: Int) -> Int { storage.length(place(index)) }

  /// Tokens of the longest.
  var longest: Int { indices.reduce(0) { Swift.max($0, length($1)) } }

  func append(_ sample: Sample) throws { try storage.append(sample) }

  func seal() throws { try storage.seal() }

  /// The samples at some places of this list, in the order in which they are given.
  func selecting(_ chosen: some Sequence<Int>, directory: String) throws -> SampleList {
    let list = MappedList<UInt32>(.unnamed(directory: directory))
    for index in chosen { try list.append(UInt32(place(index))) }
    try list.seal()
    return SampleList(storage, places: list)
  }

  /// Gives back the pages that reading has brought in.
  public func dropPages() {
    storage.dropPages()
    places?.dropPages()
  }

  /// Number and checksum of all tokens, and of labels that are no ids to follow.
  var fingerprint: String {
    // As if the labels stood behind all tokens.
    let bytes = storage.labelCount * MemoryLayout<Int32>.stride
    let sum = crc32_combine(storage.tokensChecksum, storage.labelsChecksum, bytes)
    return "\(storage.tokenCount + storage.labelCount):\(UInt32(truncatingIfNeeded: sum))"
  }

  public static func == (a: SampleList, b: SampleList) -> Bool { a.count == b.count && a.elementsEqual(b) }
}
