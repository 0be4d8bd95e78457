import Formats
import Foundation
import Testing

@Suite struct OutputFileTests {
  @Test func aFullDiskIsReported() throws {
    let file = try OutputFile(path: "/dev/full")
    try file.append(repeating: 1, count: 100)
    #expect(message { try file.finish() } == "/dev/full: writing stopped: No space left on device")
  }

  @Test func aDiskThatFillsUpLeavesTheOldOutput() throws {
    try withTemporaryFolder { folder in
      guard mount("tmpfs", folder, "tmpfs", 0, "size=64k") == 0 else {
        print("a full disk: skipped, mounting needs the rights of root")
        return
      }
      defer { umount(folder) }
      try OutputFile.write("old", to: "\(folder)/out")
      let output = try AtomicOutput(path: "\(folder)/out", force: true)
      let text = message {
        let file = try OutputFile(path: output.temporaryPath)
        try file.append(repeating: 1, count: 1 << 17)
        try file.finish()
        try output.commit()
      }
      #expect(text.hasSuffix("writing stopped: No space left on device"), "\(text)")
      #expect(try String(contentsOfFile: "\(folder)/out", encoding: .utf8) == "old")
    }
  }
}

@Suite struct JSONLinesFileTests {
  private let row = JSONValue.object(JSONObject([("a", .integer(1))]))

  @Test func aLineFollowsTheLinesThatAreThere() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/rows.jsonl"
      for old in [nil, "", "{\"b\": 2}\n", "{\"b\": 2}", "\u{FEFF}\n {\"b\": 2}\n"] {
        try? FileManager.default.removeItem(atPath: path)
        if let old { try OutputFile.write(old, to: path) }
        for _ in 0..<2 { try JSONLinesFile.append(row, to: path) }
        let start = old.map { $0.isEmpty || $0.hasSuffix("\n") ? $0 : $0 + "\n" } ?? ""
        let line = row.serialized() + "\n"
        #expect(FileManager.default.contents(atPath: path) == Data((start + line + line).utf8))
      }
    }
  }

  @Test func aFileOfAnotherKindStaysAsItIs() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/file"
      for old in ["\u{8}\0\0\0{}", "[{\"b\": 2}]\n", "text\tlabel\n", "words\n"] {
        try OutputFile.write(old, to: path)
        #expect(message { try JSONLinesFile.append(row, to: path) }.contains("it holds no JSON lines"))
        #expect(try String(contentsOfFile: path, encoding: .utf8) == old)
      }
    }
  }
}

@Suite struct OutputFolderTests {
  @Test func aFolderForAWhileIsGoneAfterwards() throws {
    var place = ""
    try OutputFolder.withTemporary { folder in
      place = folder
      try OutputFile.write("a", to: "\(folder)/file")
      #expect(try OutputFolder.readableNames(in: folder) == ["file"])
    }
    #expect(!place.isEmpty && !FileManager.default.fileExists(atPath: place))
    #expect(message { _ = try OutputFolder.readableNames(in: place) }.contains("the folder cannot be read"))
  }
}

@Suite struct AtomicOutputTests {
  /// No process has this number: it is above the kernel's limit of 2^22.
  private static let dead = 4_194_999

  private func make(_ path: String, holding text: String) throws {
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    try OutputFile.write(text, to: "\(path)/file")
  }

  private func text(_ path: String) -> String? { try? String(contentsOfFile: path, encoding: .utf8) }

  private func names(_ folder: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
  }

  @Test func whatAKilledProcessLeftIsRemovedAndWhatALivingOneWritesIsNot() throws {
    try withTemporaryFolder { folder in
      for name in [
        "partial-\(Self.dead)", "partial-1", "partial-\(Self.dead).old", "partial-\(Self.dead)x", "partial-+5",
      ] {
        try make("\(folder)/.out.\(name)", holding: name)
      }
      try make("\(folder)/.other.partial-\(Self.dead)", holding: "")
      try make("\(folder)/out", holding: "now")
      _ = try AtomicOutput(path: "\(folder)/out/", force: true)
      #expect(
        try names(folder) == [
          ".other.partial-\(Self.dead)", ".out.partial-+5", ".out.partial-1", ".out.partial-\(Self.dead)x", "out",
        ])
      #expect(text("\(folder)/out/file") == "now")
    }
  }

  @Test func whatIsReadIsNotReplacedNorWhatIsNoResult() throws {
    try withTemporaryFolder { folder in
      let source = "\(folder)/out/source"
      for name in ["out", "out/more"] {
        try FileManager.default.createDirectory(atPath: "\(folder)/\(name)", withIntermediateDirectories: true)
      }
      try "x".write(toFile: source, atomically: true, encoding: .utf8)
      for path in ["\(folder)/out", source, "\(folder)/out/more/../source"] {
        #expect(throws: FileError.self) { try AtomicOutput(path: path, force: true, inputs: [source]) }
      }
      _ = try AtomicOutput(path: "\(folder)/out/other", force: true, inputs: [source, "\(folder)/nothing"])
      let file = try AtomicOutput(path: source, force: true)
      #expect(throws: FileError.self) { try file.requireFile(kind: "some") { $0 != source } }
      try file.requireFile(kind: "some") { $0 == source }
      let output = try AtomicOutput(path: "\(folder)/out", force: true)
      #expect(throws: FileError.self) { try output.requireResult("source", kind: "some") }
      try output.requireResult("source", kind: "some", folder: "more")
      try FileManager.default.removeItem(atPath: "\(folder)/out/more")
      #expect(throws: FileError.self) { try output.requireResult("mark", kind: "some") }
      try output.requireResult("source", kind: "some")
    }
  }

  /// Some file systems of a network say that their room has no end.
  @Test func roomWithoutEndIsANumber() {
    #expect(FreeSpace.byteCount(blocks: .max, of: 4096) == Int.max)
    #expect(FreeSpace.byteCount(blocks: .max, of: 1) == Int.max)
    #expect(FreeSpace.byteCount(blocks: 3, of: 4096) == 12_288)
    #expect(FreeSpace.byteCount(of: "/nonexistent") == nil)
  }

  @Test func anOldFolderThatAKillKeptFromComingBackComesBack() throws {
    try withTemporaryFolder { folder in
      try make("\(folder)/.out.partial-\(Self.dead).old", holding: "old")
      #expect(throws: FileError.self) { try AtomicOutput(path: "\(folder)/out", force: false) }
      #expect(try names(folder) == ["out"])
      #expect(text("\(folder)/out/file") == "old")
    }
  }

  @Test(arguments: [true, false])
  func aFolderIsReplacedAndNothingIsLeft(canExchange: Bool) throws {
    try withTemporaryFolder { folder in
      for round in 0..<3 {
        let output = try AtomicOutput(path: "\(folder)/out", force: true, canExchange: canExchange)
        try output.createDirectory()
        try OutputFile.write("\(round)", to: "\(output.temporaryPath)/file")
        try FileManager.default.createDirectory(
          atPath: "\(output.temporaryPath)/inner", withIntermediateDirectories: true)
        try output.commit()
        #expect(try names(folder) == ["out"])
        #expect(text("\(folder)/out/file") == "\(round)")
      }
      let abandoned = try AtomicOutput(path: "\(folder)/out", force: true)
      try abandoned.createDirectory()
    }
  }

  /// A reader that looks all the time finds the old or the new, never nothing.
  @Test func atNoMomentIsNothingThere() throws {
    try withTemporaryFolder { folder in
      try make("\(folder)/out", holding: "0")
      let misses = Counter()
      let watcher = Thread {
        while !misses.isDone { if access("\(folder)/out/file", F_OK) != 0 { misses.add() } }
        misses.end()
      }
      watcher.start()
      for round in 1...200 {
        let output = try AtomicOutput(path: "\(folder)/out", force: true)
        try output.createDirectory()
        try OutputFile.write("\(round)", to: "\(output.temporaryPath)/file")
        try output.commit()
      }
      misses.stop()
      #expect(misses.count == 0)
    }
  }

  @Test func withoutForceNothingIsReplaced() throws {
    try withTemporaryFolder { folder in
      let first = try AtomicOutput(path: "\(folder)/out", force: false)
      try OutputFile.write("mine", to: first.temporaryPath)
      try OutputFile.write("theirs", to: "\(folder)/out")
      #expect(message { try first.commit() }.contains("exists already"))
      #expect(text("\(folder)/out") == "theirs")
      #expect(throws: FileError.self) { try AtomicOutput(path: "\(folder)/out", force: false) }
      try FileManager.default.createSymbolicLink(atPath: "\(folder)/link", withDestinationPath: "nowhere")
      #expect(throws: FileError.self) { try AtomicOutput(path: "\(folder)/link", force: false) }
    }
  }

  @Test func aFileDoesNotReplaceAFolderNorTheOtherWayRound() throws {
    try withTemporaryFolder { folder in
      try make("\(folder)/folder", holding: "kept")
      try OutputFile.write("kept", to: "\(folder)/file")
      let file = try AtomicOutput(path: "\(folder)/folder", force: true)
      try OutputFile.write("new", to: file.temporaryPath)
      #expect(message { try file.commit() }.contains("it is a folder, the output a file"))
      let directory = try AtomicOutput(path: "\(folder)/file", force: true)
      try directory.createDirectory()
      #expect(message { try directory.commit() }.contains("it is a file, the output a folder"))
      #expect(text("\(folder)/folder/file") == "kept" && text("\(folder)/file") == "kept")
    }
  }

  @Test func aFileAndALinkAreReplacedByAFile() throws {
    try withTemporaryFolder { folder in
      try OutputFile.write("target", to: "\(folder)/target")
      try FileManager.default.createSymbolicLink(atPath: "\(folder)/out", withDestinationPath: "target")
      for round in 0..<2 {
        let output = try AtomicOutput(path: "\(folder)/out", force: true)
        try OutputFile.write("\(round)", to: output.temporaryPath)
        try output.commit()
        #expect(text("\(folder)/out") == "\(round)" && text("\(folder)/target") == "target")
      }
    }
  }

  @Test func anOutputThatVanishesIsReported() throws {
    try withTemporaryFolder { folder in
      let output = try AtomicOutput(path: "\(folder)/out", force: true)
      #expect(message { try output.commit() }.contains("cannot be synced: No such file or directory"))
    }
  }

  @Test(arguments: ["", ".", "..", "/", "a/..", "//"])
  func whatIsNoNameOfANewFolderIsRefused(path: String) {
    #expect(throws: FileError.self) { try AtomicOutput(path: path, force: true) }
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

@Suite struct FolderLockTests {
  @Test func aSecondHolderIsRefusedUntilTheFirstIsGone() throws {
    try withTemporaryFolder { folder in
      var first: FolderLock? = try FolderLock(folder: folder, purpose: "train")
      #expect(first?.isEffective == true)
      let text = message { _ = try FolderLock(folder: "\(folder)/", purpose: "merge") }
      #expect(text.hasPrefix("\(folder): in use by process \(getpid()): train; wait until"), "\(text)")
      first = nil
      #expect(!FileManager.default.fileExists(atPath: "\(folder)/.lock"))
      _ = try FolderLock(folder: folder, purpose: "merge")
    }
  }

  @Test func theNameOfAnOutputIsLockedBeforeThereIsOne() throws {
    try withTemporaryFolder { folder in
      let lock = try FolderLock(output: "\(folder)/out", purpose: "a\nb")
      #expect(lock.file == "\(folder)/.out.lock")
      #expect(
        message { _ = try FolderLock(output: "\(folder)/out/", purpose: "") }.contains("process \(getpid()): a b;"))
      _ = try FolderLock(output: "\(folder)/other", purpose: "")
      withExtendedLifetime(lock) {}
    }
  }

  @Test func whatAKilledHolderLeftIsNoLock() throws {
    try withTemporaryFolder { folder in
      try OutputFile.write("process 4194999: train, with a long text", to: "\(folder)/.lock")
      let lock = try FolderLock(folder: folder, purpose: "b")
      #expect(try String(contentsOfFile: lock.file, encoding: .utf8) == "process \(getpid()): b")
      #expect(throws: FileError.self) { try FolderLock(folder: "\(folder)/none", purpose: "") }
    }
  }
}

/// Counted by one thread, read by another.
private final class Counter: @unchecked Sendable {
  // @unchecked: all of it is behind the lock.
  private let lock = NSCondition()
  private var value = 0
  private var done = false
  private var ended = false

  var count: Int { lock.withLock { value } }
  var isDone: Bool { lock.withLock { done } }
  func add() { lock.withLock { value += 1 } }
  func end() {
    lock.withLock {
      ended = true
      lock.broadcast()
    }
  }
  /// Waits until the other thread has seen it.
  func stop() {
    lock.withLock {
      done = true
      while !ended { lock.wait() }
    }
  }
}
