/// What the machine as a whole says about its memory.
public enum MachineMemory {
  /// Bytes that can be had without pushing other programs out; `nil` where the kernel does not say.
  public static var availableBytes: Int? { ProcFile.kilobytes("MemAvailable:", in: "/proc/meminfo") }

  /// The least limit of the control groups that this process is in; `nil` without one.
  ///
  /// Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of Linux.
  public static var limitBytes: Int? {
    ProcFile.lines("", in: "/proc/self/cgroup").flatMap { limits(of: $0, root: "/sys/fs/cgroup") }.min()
  }

  /// The limits of one group and of those around it, where they are stated.
  ///
  /// - Parameters:
  ///   - group: `number:controllers:path`, a line of `/proc/self/cgroup`; no controllers mean version 2
  ///   - root: where the groups are mounted
  public static func limits(of group: String, root: String) -> [Int] {
    let parts = group.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
    guard parts.count == 3 else { return [] }
    let isUnified = parts[1].isEmpty
    guard isUnified || parts[1].split(separator: ",").contains("memory") else { return [] }
    let folder = isUnified ? root : "\(root)/memory"
    let name = isUnified ? "memory.max" : "memory.limit_in_bytes"
    let path = parts[2].split(separator: "/")
    // In a container the path may be that of the host, and only its end, or nothing of it, be mounted.
    return (0...path.count).compactMap { count in
      ProcFile.line("", in: ([folder] + path.prefix(count).map(String.init) + [name]).joined(separator: "/"))
        .flatMap { Int($0.filter { !$0.isWhitespace }) }
    }
  }

  /// Bytes that this process can have more; `nil` where the kernel does not say.
  public static var obtainableBytes: Int? {
    guard let availableBytes else { return nil }
    return min(availableBytes, (limitBytes ?? .max) - ProcessMemory.residentBytes)
  }

  /// Bytes of all memory.
  public static var totalBytes: Int? { ProcFile.kilobytes("MemTotal:", in: "/proc/meminfo") }

  /// Share of the last ten seconds in which some program waited for memory, in per cent; `nil` without PSI.
  ///
  /// Source: Documentation/accounting/psi.rst of Linux.
  public static var pressure: Double? {
    ProcFile.line("some ", in: "/proc/pressure/memory")?.split(separator: " ")
      .first { $0.hasPrefix("avg10=") }.flatMap { Double($0.dropFirst("avg10=".count)) }
  }

  /// Whether the machine is close to swapping or to killing something.
  public static var isShort: Bool {
    if let pressure, pressure > 10 { return true }
    guard let availableBytes, let totalBytes else { return false }
    return availableBytes < max(totalBytes / 50, 24 << 20)
  }
}
