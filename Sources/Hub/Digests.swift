/// SHA-256 (FIPS 180-4) of bytes that come piece by piece.
public struct SHA256: Sendable {
  private var state: [UInt32] = [
    0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
  ]
  private var words = [UInt32](repeating: 0, count: 64)
  private var blocks = BlockBuffer()

  public init() {}

  private static let constants: [UInt32] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
  ]

  public mutating func update(_ bytes: UnsafeRawBufferPointer) {
    blocks.take(bytes) { Self.add($0, to: &state, &words) }
  }

  /// The digest as 64 hexadecimal digits.
  public mutating func finish() -> String {
    blocks.finish { Self.add($0, to: &state, &words) }
    return hexadecimal(state)
  }

  private static func add(_ block: UnsafeRawPointer, to state: inout [UInt32], _ words: inout [UInt32]) {
    constants.withUnsafeBufferPointer { k in
      words.withUnsafeMutableBufferPointer { w in
        state.withUnsafeMutableBufferPointer { state in
          for t in 0..<16 { w[t] = UInt32(bigEndian: block.loadUnaligned(fromByteOffset: 4 * t, as: UInt32.self)) }
          for t in 16..<64 {
            let (x, y) = (w[t - 15], w[t - 2])
            let small = rotated(x, 7) ^ rotated(x, 18) ^ x >> 3
            let large = rotated(y, 17) ^ rotated(y, 19) ^ y >> 10
            w[t] = w[t - 16] &+ small &+ w[t - 7] &+ large
          }
          var (a, b, c, d) = (state[0], state[1], state[2], state[3])
          var (e, f, g, h) = (state[4], state[5], state[6], state[7])
          for t in 0..<64 {
            let sumE: UInt32 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)
            let choice: UInt32 = (e & f) ^ (~e & g)
            let first = h &+ sumE &+ choice &+ k[t] &+ w[t]
            let sumA: UInt32 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)
            let majority: UInt32 = (a & b) ^ (a & c) ^ (b & c)
            (h, g, f, e) = (g, f, e, d &+ first)
            (d, c, b, a) = (c, b, a, first &+ sumA &+ majority)
          }
          state[0] &+= a
          state[1] &+= b
          state[2] &+= c
          state[3] &+= d
          state[4] &+= e
          state[5] &+= f
          state[6] &+= g
          state[7] &+= h
        }
      }
    }
  }

  @inline(__always)
  private static func rotated(_ x: UInt32, _ n: UInt32) -> UInt32 { x >> n | x << (32 - n) }
}

/// SHA-1 (FIPS 180-4), by which Git names contents.
public struct SHA1: Sendable {
  private var state: [UInt32] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0]
  private var words = [UInt32](repeating: 0, count: 80)
  private var blocks = BlockBuffer()

  public init() {}

  public mutating func update(_ bytes: UnsafeRawBufferPointer) {
    blocks.take(bytes) { Self.add($0, to: &state, &words) }
  }

  /// The digest as 40 hexadecimal digits.
  public mutating func finish() -> String {
    blocks.finish { Self.add($0, to: &state, &words) }
    return hexadecimal(state)
  }

  private static func add(_ block: UnsafeRawPointer, to state: inout [UInt32], _ w: inout [UInt32]) {
    for t in 0..<16 { w[t] = UInt32(bigEndian: block.loadUnaligned(fromByteOffset: 4 * t, as: UInt32.self)) }
    for t in 16..<80 { w[t] = rotated(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1) }
    var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
    for t in 0..<80 {
      let mixed: UInt32
      let constant: UInt32
      switch t {
      case ..<20: (mixed, constant) = ((b & c) | (~b & d), 0x5a82_7999)
      case ..<40: (mixed, constant) = (b ^ c ^ d, 0x6ed9_eba1)
      case ..<60: (mixed, constant) = ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc)
      default: (mixed, constant) = (b ^ c ^ d, 0xca62_c1d6)
      }
      let next = rotated(a, 5) &+ mixed &+ e &+ constant &+ w[t]
      (e, d, c, b, a) = (d, c, rotated(b, 30), a, next)
    }
    for (index, value) in [a, b, c, d, e].enumerated() { state[index] &+= value }
  }

  @inline(__always)
  private static func rotated(_ x: UInt32, _ n: UInt32) -> UInt32 { x << n | x >> (32 - n) }
}

/// Cuts a stream into blocks of 64 bytes, and ends it with its length as both digests do.
private struct BlockBuffer: Sendable {
  private var rest: [UInt8] = []
  private var byteCount: UInt64 = 0

  mutating func take(_ bytes: UnsafeRawBufferPointer, _ add: (UnsafeRawPointer) -> Void) {
    byteCount += UInt64(bytes.count)
    var bytes = bytes[...]
    if !rest.isEmpty {
      let count = min(64 - rest.count, bytes.count)
      rest.append(contentsOf: bytes.prefix(count))
      bytes = bytes.dropFirst(count)
      guard rest.count == 64 else { return }
      rest.withUnsafeBytes { add($0.baseAddress!) }
      rest.removeAll(keepingCapacity: true)
    }
    let whole = UnsafeRawBufferPointer(rebasing: bytes.prefix(bytes.count / 64 * 64))
    if let base = whole.baseAddress {
      for start in stride(from: 0, to: whole.count, by: 64) { add(base + start) }
    }
    rest.append(contentsOf: bytes.dropFirst(whole.count))
  }

  mutating func finish(_ add: (UnsafeRawPointer) -> Void) {
    let bits = byteCount * 8
    var end: [UInt8] = [0x80]
    while (rest.count + end.count) % 64 != 56 { end.append(0) }
    for shift in stride(from: 56, through: 0, by: -8) { end.append(UInt8(truncatingIfNeeded: bits >> UInt64(shift))) }
    end.withUnsafeBytes { take($0, add) }
  }
}

private func hexadecimal(_ words: [UInt32]) -> String {
  words.map { word in
    let digits = String(word, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }.joined()
}
