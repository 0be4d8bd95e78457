import Hub
import Testing

/// The examples of FIPS 180-4 and of NIST's notes to it.
struct DigestTests {
  static let long = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"

  @Test(arguments: [
    ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (long, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
  ])
  func sha256IsTheStandards(text: String, expected: String) {
    var digest = SHA256()
    Array(text.utf8).withUnsafeBytes { digest.update($0) }
    #expect(digest.finish() == expected)
  }

  @Test(arguments: [
    ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"), ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
    (long, "84983e441c3bd26ebaae4aa1f95129e5e54670f1"),
  ])
  func sha1IsTheStandards(text: String, expected: String) {
    var digest = SHA1()
    Array(text.utf8).withUnsafeBytes { digest.update($0) }
    #expect(digest.finish() == expected)
  }

  /// A million letters, in pieces of every length.
  @Test func piecesOfAnyLengthMakeTheSameDigest() {
    var (large, small) = (SHA256(), SHA1())
    var left = 1_000_000
    var length = 1
    let letters = [UInt8](repeating: UInt8(ascii: "a"), count: 200)
    while left > 0 {
      let count = min(left, length)
      letters.withUnsafeBytes { bytes in
        let piece = UnsafeRawBufferPointer(rebasing: bytes.prefix(count))
        large.update(piece)
        small.update(piece)
      }
      left -= count
      length = length % 200 + 1
    }
    #expect(large.finish() == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    #expect(small.finish() == "34aa973cd4c4daa4f61eeb2bdbad27316534016f")
  }
}
