import Glibc

/// Lines of the kernel's text files.
enum ProcFile {
  /// Longer than any line that is looked for: a path of a control group is one.
  private static let longest = 8192

  /// The rest of the first line that begins with `prefix`.
  static func line(_ prefix: String, in path: String) -> String? { lines(prefix, in: path, most: 1).first }

  /// The rest of the lines that begin with `prefix`; none where there is no such file.
  static func lines(_ prefix: String, in path: String, most: Int = .max) -> [String] {
    guard let file = fopen(path, "r") else { return [] }
    defer { fclose(file) }
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: longest) { buffer in
      var lines: [String] = []
      guard let base = buffer.baseAddress else { return lines }
      while lines.count < most, fgets(base, Int32(longest), file) != nil {
        guard strncmp(base, prefix, strlen(prefix)) == 0 else { continue }
        base[strcspn(base, "\n")] = 0
        lines.append(String(cString: base + strlen(prefix)))
      }
      return lines
    }
  }

  /// The number of such a line, which counts in KiB, in bytes.
  static func kilobytes(_ prefix: String, in path: String) -> Int? {
    line(prefix, in: path).flatMap { Int($0.filter(\.isNumber)) }.map { $0 * 1024 }
  }
}
