import Foundation
import Memory
import Testing

struct MachineMemoryTests {
  private func withFolder(_ body: (String) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("groups-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: folder) }
    try body(folder.path)
  }

  private func write(_ text: String, to path: String) throws {
    let folder = (path as NSString).deletingLastPathComponent
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try text.write(toFile: path, atomically: true, encoding: .utf8)
  }

  @Test func limitsOfAllLevelsOfAGroupCount() throws {
    try withFolder { root in
      try write("max\n", to: "\(root)/a/memory.max")
      try write("104857600\n", to: "\(root)/a/b/memory.max")
      try write("209715200\n", to: "\(root)/a/b/c/memory.max")
      #expect(MachineMemory.limits(of: "0::/a/b/c", root: root) == [104_857_600, 209_715_200])
      #expect(MachineMemory.limits(of: "0::/a", root: root) == [])
    }
  }

  @Test func limitsOfVersionOneCountForTheMemoryControllerAlone() throws {
    try withFolder { root in
      try write("9223372036854771712\n", to: "\(root)/memory/memory.limit_in_bytes")
      try write("1048576\n", to: "\(root)/memory/a/memory.limit_in_bytes")
      #expect(MachineMemory.limits(of: "4:memory:/a", root: root) == [9_223_372_036_854_771_712, 1_048_576])
      #expect(MachineMemory.limits(of: "4:cpu,memory:/", root: root) == [9_223_372_036_854_771_712])
      #expect(MachineMemory.limits(of: "3:cpuset:/a", root: root) == [])
      #expect(MachineMemory.limits(of: "nonsense", root: root) == [])
    }
  }

  /// As in a container, whose group is named by a path of the host.
  @Test func aGroupThatIsNotMountedStillHasTheLimitOfTheRoot() throws {
    try withFolder { root in
      try write("52428800\n", to: "\(root)/memory.max")
      #expect(MachineMemory.limits(of: "0::/docker/0123456789abcdef", root: root) == [52_428_800])
    }
  }

  @Test func aLimitThatIsNoNumberIsNone() throws {
    try withFolder { root in
      try write("", to: "\(root)/memory.max")
      try write("lots\n", to: "\(root)/a/memory.max")
      #expect(MachineMemory.limits(of: "0::/a", root: root) == [])
    }
  }

  @Test func whatCanBeHadIsPartOfTheMachine() throws {
    let obtainable = try #require(MachineMemory.obtainableBytes)
    #expect(obtainable > 0 && obtainable < MachineMemory.totalBytes ?? 0)
  }
}
