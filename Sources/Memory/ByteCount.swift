/// Bytes as people read them, and sums of them that do not overflow.
public enum ByteCount {
  /// `1536` as `1.5 KiB`, and so on up to EiB.
  public static func text(_ byteCount: Int) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    var value = Double(byteCount)
    var unit = 0
    while value >= 1024, unit < units.count - 1 {
      value /= 1024
      unit += 1
    }
    if unit == 0 { return "\(byteCount) B" }
    let scaled = Int((value * 10).rounded())
    return "\(scaled / 10).\(scaled % 10) \(units[unit])"
  }

  /// Reads `4G`, `512M`, `512MiB`, `300000K` or a plain number of bytes; units are powers of 1024.
  /// - Returns: `nil` if `text` is none of these or is not positive.
  public static func parse(_ text: String) -> Int? {
    var digits = text.uppercased()[...]
    var shift = 0
    for (suffixes, bits) in [(["KIB", "KB", "K"], 10), (["MIB", "MB", "M"], 20), (["GIB", "GB", "G"], 30)] {
      if let suffix = suffixes.first(where: { digits.hasSuffix($0) }) {
        digits = digits.dropLast(suffix.count)
        shift = bits
        break
      }
    }
    guard let number = Double(digits), number.isFinite, number > 0, number < Double(1 << 50) else { return nil }
    let byteCount = number * Double(1 << shift)
    return byteCount < 9e18 && byteCount >= 1 ? Int(byteCount) : nil
  }

  /// The product of sizes that are not negative, such as rows, columns and bytes of an element; `Arena.mostByteCount` where it
  /// would be more.
  public static func product(_ factors: Int...) -> Int {
    if factors.contains(0) { return 0 }
    return factors.reduce(1) { product, factor in
      let (next, overflows) = product.multipliedReportingOverflow(by: factor)
      return overflows ? Arena.mostByteCount : min(next, Arena.mostByteCount)
    }
  }

  /// The sum of sizes that are not negative; `Arena.mostByteCount` where it would be more.
  public static func sum(_ terms: Int...) -> Int {
    terms.reduce(0) { sum, term in min(sum + min(term, Arena.mostByteCount), Arena.mostByteCount) }
  }
}
