/// Which bytes of the given text a byte of a changed text comes from.
struct Origin: Sendable {
  var start: UInt32
  var end: UInt32

  static let none = Origin(start: 0, end: 0)
}

/// A text that normalizers change, with the origin of each byte where that is asked for.
struct TracedText {
  var bytes: [UInt8]
  private(set) var origins: [Origin] = []
  let isTraced: Bool

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
    isTraced = false
  }

  init(_ text: Stretch) {
    bytes = Array(text.text)
    isTraced = text.origins != nil
    if let origins = text.origins { self.origins = Array(UnsafeBufferPointer(start: origins, count: bytes.count)) }
  }

  func withStretch<Result>(_ body: (Stretch) -> Result) -> Result {
    bytes.withUnsafeBufferPointer { text in
      origins.withUnsafeBufferPointer { body(Stretch(text: text, origins: isTraced ? $0.baseAddress : nil)) }
    }
  }

  /// Makes another text of this one, piece by piece.
  mutating func edit(_ body: (Bytes, inout TextEdit) -> Void) {
    var edit = TextEdit(traces: isTraced, capacity: bytes.count)
    withStretch { stretch in
      edit.source = stretch
      body(stretch.text, &edit)
    }
    bytes = edit.bytes
    origins = edit.origins
  }
}

/// A part of a text in memory that stands still.
struct Stretch {
  let text: Bytes
  /// As many as there are bytes; none where nobody asks for them.
  let origins: UnsafePointer<Origin>?

  @inline(__always) func part(_ range: Range<Int>) -> Stretch {
    Stretch(text: text.part(range), origins: origins.map { $0 + range.lowerBound })
  }
}

/// What comes of a text, written from its start to its end; the rules of origins are those of `tokenizers`.
struct TextEdit {
  fileprivate(set) var bytes: [UInt8] = []
  fileprivate(set) var origins: [Origin] = []
  fileprivate var source = Stretch(text: Bytes(start: nil, count: 0), origins: nil)
  private let traces: Bool

  fileprivate init(traces: Bool, capacity: Int) {
    self.traces = traces
    bytes.reserveCapacity(capacity + capacity / 4)
  }

  /// Some bytes as they stand.
  @inline(__always) mutating func keep(_ range: Range<Int>) {
    bytes.append(contentsOf: source.text.part(range))
    if traces, let origins = source.origins { for index in range { self.origins.append(origins[index]) } }
  }

  /// One byte in place of the one at `index`.
  @inline(__always) mutating func put(_ byte: UInt8, at index: Int) {
    bytes.append(byte)
    if traces { origins.append(origin(index)) }
  }

  /// Some bytes that come from where the byte at `index` comes from.
  mutating func put(_ content: some Collection<UInt8>, at index: Int) {
    bytes.append(contentsOf: content)
    if traces { for _ in 0..<content.count { origins.append(origin(index)) } }
  }

  mutating func put(scalar: UInt32, at index: Int) {
    UTF8Text.append(scalar, to: &bytes)
    if traces { while origins.count < bytes.count { origins.append(origin(index)) } }
  }

  /// Scalars in place of those from `start` on.
  mutating func put(_ pieces: some Sequence<UnicodeNormalizer.Piece>, from start: Int) {
    var position = start
    for piece in pieces {
      put(scalar: piece.scalar, at: piece.change > 0 ? position - 1 : position)
      guard piece.change <= 0 else { continue }
      for _ in 0...(-piece.change) where position < source.text.count {
        position += source.text.scalar(at: position).length
      }
    }
  }

  private func origin(_ index: Int) -> Origin {
    guard index >= 0, index < source.text.count, let origins = source.origins else { return .none }
    return origins[index]
  }
}

enum UTF8Text {
  @inline(__always) static func append(_ scalar: UInt32, to bytes: inout [UInt8]) {
    if scalar < 0x80 { return bytes.append(UInt8(scalar)) }
    if scalar < 0x800 {
      bytes.append(UInt8(0xC0 | scalar >> 6))
    } else {
      if scalar < 0x10000 {
        bytes.append(UInt8(0xE0 | scalar >> 12))
      } else {
        bytes.append(UInt8(0xF0 | scalar >> 18))
        bytes.append(UInt8(0x80 | scalar >> 12 & 0x3F))
      }
      bytes.append(UInt8(0x80 | scalar >> 6 & 0x3F))
    }
    bytes.append(UInt8(0x80 | scalar & 0x3F))
  }
}
