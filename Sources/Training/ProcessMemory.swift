import Foundation

/// What the kernel counts for this process, in bytes.
public enum ProcessMemory {
  /// Resident now, mapped files included.
  public static var residentBytes: Int { field("VmRSS:", in: "/proc/self/status") }
  /// The most that was ever resident.
  public static var peakBytes: Int { field("VmHWM:", in: "/proc/self/status") }

  /// Starts the peak anew from what is resident now, where the kernel allows it.
  public static func resetPeak() {
    guard let file = fopen("/proc/self/clear_refs", "w") else { return }
    fputs("5", file)
    fclose(file)
  }

  private static func field(_ name: String, in path: String) -> Int {
    guard let file = fopen(path, "r") else { return 0 }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    while fgets(&line, Int32(line.count), file) != nil {
      let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      if text.hasPrefix(name), let kilobytes = Int(text.dropFirst(name.count).filter(\.isNumber)) {
        return kilobytes * 1024
      }
    }
    return 0
  }
}
