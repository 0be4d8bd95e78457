/// One event of TensorBoard: figures after a step, or what a file begins with.
///
/// Source: `tensorboard/compat/proto/event.proto` and `summary.proto`.
package struct Event: Equatable {
  package enum Content: Equatable {
    /// What every file begins with.
    case version(String)
    /// The run begins anew: what a reader knows of this and later steps no longer counts.
    case start
    case scalars([Scalar])
  }

  package struct Scalar: Equatable {
    package let tag: String
    package let value: Float

    package init(tag: String, value: Float) {
      self.tag = tag
      self.value = value
    }
  }

  /// Seconds since 1970.
  package let time: Double
  package let step: Int
  package let content: Content

  package init(time: Double, step: Int, content: Content) {
    self.time = time
    self.step = step
    self.content = content
  }

  /// The message in protocol buffers' encoding.
  package var encoded: [UInt8] {
    var message = Protobuf()
    message.double(1, time)
    message.integer(2, step)
    switch content {
    case .version(let text): message.bytes(3, Array(text.utf8))
    case .start:
      var log = Protobuf()
      log.integer(1, 1)  // SessionLog.START
      message.bytes(7, log.bytes)
    case .scalars(let scalars):
      var summary = Protobuf()
      for scalar in scalars {
        var value = Protobuf()
        value.bytes(1, Array(scalar.tag.utf8))
        value.float(2, scalar.value)
        summary.bytes(1, value.bytes)
      }
      message.bytes(5, summary.bytes)
    }
    return message.bytes
  }

  /// The step of a message that holds figures; `nil` for others and for what is damaged.
  package static func stepOfScalars(_ message: [UInt8]) -> Int? {
    var step = 0
    var hasSummary = false
    var rest = message[...]
    while let key = Protobuf.takeInteger(&rest) {
      switch (key >> 3, key & 7) {
      case (2, 0):
        guard let value = Protobuf.takeInteger(&rest), value <= UInt64(Int.max) else { return nil }
        step = Int(value)
      case (_, 0): guard Protobuf.takeInteger(&rest) != nil else { return nil }
      case (_, 1): rest = rest.dropFirst(8)
      case (_, 5): rest = rest.dropFirst(4)
      case (let field, 2):
        guard let count = Protobuf.takeInteger(&rest), count <= UInt64(rest.count) else { return nil }
        hasSummary = hasSummary || field == 5
        rest = rest.dropFirst(Int(count))
      default: return nil
      }
    }
    return hasSummary ? step : nil
  }
}

/// Fields of a message in protocol buffers' encoding, one after the other.
struct Protobuf {
  private(set) var bytes: [UInt8] = []

  private mutating func append(_ value: UInt64) {
    var value = value
    while value >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: value) | 0x80)
      value >>= 7
    }
    bytes.append(UInt8(value))
  }

  private mutating func key(_ field: Int, _ wire: UInt64) { append(UInt64(field) << 3 | wire) }

  mutating func integer(_ field: Int, _ value: Int) {
    key(field, 0)
    append(UInt64(bitPattern: Int64(value)))
  }

  mutating func double(_ field: Int, _ value: Double) {
    key(field, 1)
    bytes += EventRecord.bytes(of: value.bitPattern)
  }

  mutating func float(_ field: Int, _ value: Float) {
    key(field, 5)
    bytes += EventRecord.bytes(of: value.bitPattern)
  }

  mutating func bytes(_ field: Int, _ value: [UInt8]) {
    key(field, 2)
    append(UInt64(value.count))
    bytes += value
  }

  /// Takes a number from the front; `nil` at the end or where it is none.
  static func takeInteger(_ bytes: inout ArraySlice<UInt8>) -> UInt64? {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 64, by: 7) {
      guard let byte = bytes.popFirst() else { return nil }
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
    }
    return nil
  }
}
