import FoundationEssentials
import Glibc

/// The small files through which the kernel shows sensors, below a root that tests can choose.
struct SensorFiles: Sendable {
  let root: String

  /// - Parameter root: where `sys` lies; `/` on a real machine
  init(root: String) { self.root = root.hasSuffix("/") ? String(root.dropLast()) : root }

  /// The words of the first line of a file; none where it cannot be read, as many sensors cannot at times.
  func words(_ path: String) -> [String] {
    let descriptor = open("\(root)/\(path)", O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    return withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) { buffer in
      let count = read(descriptor, buffer.baseAddress, buffer.count)
      guard count > 0 else { return [] }
      let line = buffer.prefix(count).prefix { $0 != 0x0A && $0 != 0 }
      return String(decoding: line, as: UTF8.self).split { $0.isWhitespace }.map(String.init)
    }
  }

  func text(_ path: String) -> String? { words(path).first }

  func integer(_ path: String) -> Int? { text(path).flatMap { Int($0) } }

  /// Paths of what lies in a folder and has this beginning, in the order of their names.
  func paths(in folder: String, beginning prefix: String) -> [String] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "\(root)/\(folder)")) ?? []
    return names.filter { $0.hasPrefix(prefix) }.sorted().map { "\(folder)/\($0)" }
  }
}
