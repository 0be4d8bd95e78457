import CGlibc
import Glibc

/// What the kernel counts for this process, in bytes.
public enum ProcessMemory {
  private static let status = "/proc/self/status"

  /// Resident now, mapped files included.
  public static var residentBytes: Int { ProcFile.kilobytes("VmRSS:", in: status) ?? 0 }
  /// The most that was ever resident.
  public static var peakBytes: Int { ProcFile.kilobytes("VmHWM:", in: status) ?? 0 }
  /// Addresses that are taken, resident or not: what `ulimit -v` bounds.
  public static var addressBytes: Int { ProcFile.kilobytes("VmSize:", in: status) ?? 0 }
  /// Resident pages of mapped files: weights, program, libraries.
  public static var residentFileBytes: Int { ProcFile.kilobytes("RssFile:", in: status) ?? 0 }

  /// Read from storage so far, by all threads: what came from the page cache does not count. `nil` where the kernel does
  /// not say.
  public static var storageBytesRead: Int? {
    ProcFile.line("read_bytes:", in: "/proc/self/io").flatMap { Int($0.filter(\.isNumber)) }
  }

  /// Gives freed memory back to the system.
  public static func trim() { _ = malloc_trim(0) }

  /// Starts the peak anew from what is resident now, where the kernel allows it.
  public static func resetPeak() {
    guard let file = fopen("/proc/self/clear_refs", "w") else { return }
    fputs("5", file)
    fclose(file)
  }
}
