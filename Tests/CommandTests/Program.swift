import Foundation

/// The program beside the tests, run as a user runs it.
enum Program {
  struct Result {
    let code: Int32
    let output: String
    let error: String
  }

  /// - Parameters:
  ///   - folder: the working directory; a new empty one if `nil`
  ///   - device: takes standard output, which is then not read
  ///   - shell: what a shell does before it becomes the program, such as `ulimit -f 8`
  static func run(
    _ arguments: [String], in folder: String? = nil, to device: String? = nil, after shell: String? = nil
  ) throws -> Result {
    let tests = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    let process = Process()
    let program = tests.deletingLastPathComponent().appendingPathComponent("edge-lora")
    process.executableURL = shell == nil ? program : URL(fileURLWithPath: "/bin/sh")
    process.arguments = (shell.map { ["-c", "\($0); exec \"$0\" \"$@\"", program.path] } ?? []) + arguments
    let place = FileManager.default.temporaryDirectory.appendingPathComponent("command-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: place) }
    process.currentDirectoryURL = folder.map { URL(fileURLWithPath: $0) } ?? place
    // Files, because a pipe that nobody reads would block the program.
    let (output, error) = (place.appendingPathComponent("output"), place.appendingPathComponent("error"))
    for file in [output, error] { try Data().write(to: file) }
    let target = device.map { URL(fileURLWithPath: $0) } ?? output
    process.standardOutput = try FileHandle(forWritingTo: target)
    process.standardError = try FileHandle(forWritingTo: error)
    process.standardInput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    return Result(
      code: process.terminationStatus, output: try String(contentsOf: output, encoding: .utf8),
      error: try String(contentsOf: error, encoding: .utf8))
  }
}
