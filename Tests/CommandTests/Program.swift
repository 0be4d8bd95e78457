import Foundation

/// The program beside the tests, run as a user runs it.
enum Program {
  struct Result {
    let code: Int32
    let output: String
    let error: String
  }

  /// - Parameter folder: the working directory; a new empty one if `nil`
  static func run(_ arguments: [String], in folder: String? = nil) throws -> Result {
    let tests = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    let process = Process()
    process.executableURL = tests.deletingLastPathComponent().appendingPathComponent("edge-lora")
    process.arguments = arguments
    let place = FileManager.default.temporaryDirectory.appendingPathComponent("command-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: place) }
    process.currentDirectoryURL = folder.map { URL(fileURLWithPath: $0) } ?? place
    // Files, because a pipe that nobody reads would block the program.
    let (output, error) = (place.appendingPathComponent("output"), place.appendingPathComponent("error"))
    for file in [output, error] { try Data().write(to: file) }
    process.standardOutput = try FileHandle(forWritingTo: output)
    process.standardError = try FileHandle(forWritingTo: error)
    process.standardInput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    return Result(
      code: process.terminationStatus, output: try String(contentsOf: output, encoding: .utf8),
      error: try String(contentsOf: error, encoding: .utf8))
  }
}
