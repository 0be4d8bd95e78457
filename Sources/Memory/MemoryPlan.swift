/// What a run will use, line by line: buffers of the arena, mapped weights and what the process holds besides.
public struct MemoryPlan: Sendable, Equatable {
  public var buffers: [PlannedBuffer]

  public init(buffers: [PlannedBuffer] = []) { self.buffers = buffers }

  /// Predicted peak of resident memory, in bytes.
  public var byteCount: Int { buffers.reduce(0) { $0 + $1.byteCount } }

  /// Bytes of each kind that occurs, in the fixed order of `MemoryKind`.
  public var byteCountByKind: [(kind: MemoryKind, byteCount: Int)] {
    MemoryKind.allCases.compactMap { kind in
      let sum = buffers.reduce(0) { $1.kind == kind ? $0 + $1.byteCount : $0 }
      return sum == 0 ? nil : (kind, sum)
    }
  }
}

/// Bytes as people read them.
public enum ByteCount {
  /// `1536` as `1.5 KiB`, and so on up to GiB.
  public static func text(_ byteCount: Int) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"]
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
}
