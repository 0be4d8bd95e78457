import Formats
import Foundation
import Testing

@Suite struct OutputFileTests {
  @Test func whatAKilledProcessLeftIsRemovedAndWhatALivingOneWritesIsNot() throws {
    try withTemporaryFolder { folder in
      // No process has this number: it is above the kernel's limit of 2^22.
      for name in [".out.partial-4194999", ".out.partial-1", ".other.partial-4194999", ".out.partial-4194999.old"] {
        try FileManager.default.createDirectory(atPath: "\(folder)/\(name)", withIntermediateDirectories: true)
      }
      _ = try AtomicOutput(path: "\(folder)/out/", force: false)
      let left = try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
      #expect(left == [".other.partial-4194999", ".out.partial-1", ".out.partial-4194999.old"])
    }
  }

  @Test(arguments: ["", ".", "..", "/", "a/..", "//"])
  func whatIsNoNameOfANewFolderIsRefused(path: String) {
    #expect(throws: FileError.self) { try AtomicOutput(path: path, force: true) }
  }

  @Test func aFullDiskIsReported() throws {
    let file = try OutputFile(path: "/dev/full")
    try file.append(repeating: 1, count: 100)
    #expect(message { try file.finish() } == "/dev/full: writing stopped: No space left on device")
  }

  @Test func aFolderThatCannotBeMadeIsReportedWithTheReason() throws {
    try withTemporaryFolder { folder in
      try Data().write(to: URL(fileURLWithPath: "\(folder)/file"))
      let output = try AtomicOutput(path: "\(folder)/file/a/b", force: false)
      #expect(message { try output.createDirectory() }.hasSuffix("Not a directory"))
      let deep = try AtomicOutput(path: "\(folder)/x/y/z", force: false)
      try deep.createDirectory()
      try deep.commit()
      #expect(FileManager.default.fileExists(atPath: "\(folder)/x/y/z"))
    }
  }
}
