/// The framing of TensorBoard's event files: length, checksum of the length, content, checksum of the content.
///
/// Source: `tensorflow/core/lib/io/record_writer.cc`; the checksum is CRC-32C (RFC 3720), rotated and with a constant added.
package enum EventRecord {
  /// Bytes around the content.
  package static let overhead = 16
  /// Longer records are none of ours.
  private static let longest = 64 << 20

  package static func framed(_ content: [UInt8]) -> [UInt8] {
    let length = bytes(of: UInt64(content.count))
    return length + bytes(of: checksum(length[...])) + content + bytes(of: checksum(content[...]))
  }

  /// The contents of the records up to the first one that is cut or damaged.
  package static func contents(of file: UnsafeRawBufferPointer) -> [[UInt8]] {
    var contents: [[UInt8]] = []
    var place = 0
    while file.count - place >= overhead {
      let length = Array(file[place..<place + 8])
      let count = length.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      guard count <= UInt64(longest), Int(count) <= file.count - place - overhead else { break }
      let start = place + 12
      let end = start + Int(count)
      let content = Array(file[start..<end])
      guard Array(file[place + 8..<start]) == bytes(of: checksum(length[...])),
        Array(file[end..<end + 4]) == bytes(of: checksum(content[...]))
      else { break }
      contents.append(content)
      place = end + 4
    }
    return contents
  }

  package static func bytes<T: FixedWidthInteger>(of value: T) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
  }

  private static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt32 {
    var crc: UInt32 = ~0
    for byte in bytes { crc = crc >> 8 ^ table[Int((crc ^ UInt32(byte)) & 0xFF)] }
    crc = ~crc
    return (crc >> 15 | crc << 17) &+ 0xA282_EAD8
  }

  private static let table: [UInt32] = (0..<256).map { index in
    (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 1 ? value >> 1 ^ 0x82F6_3B78 : value >> 1 }
  }
}
