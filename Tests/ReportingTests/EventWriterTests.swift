import Formats
import Foundation
import Reporting
import Testing

/// A folder that goes with the test.
final class ScratchFolder {
  let path = NSTemporaryDirectory() + "reporting-\(UUID().uuidString)"
  init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
  deinit { try? FileManager.default.removeItem(atPath: path) }

  func write(_ text: String, to name: String) throws {
    try text.write(toFile: "\(path)/\(name)", atomically: false, encoding: .utf8)
  }

  var names: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted() }
}

@Suite struct EventWriterTests {
  private func steps(_ path: String) throws -> [Int] {
    try [UInt8](Data(contentsOf: URL(fileURLWithPath: path))).withUnsafeBytes { EventRecord.contents(of: $0) }
      .compactMap(Event.stepOfScalars)
  }

  @Test func recordsAreThoseOfTensorBoard() {
    // Of TensorBoard 2.20's own writer: an event with step 3 and a scalar, and its frame.
    let event = Event(time: 12.5, step: 3, content: .scalars([.init(tag: "train/loss", value: 0.75)]))
    let hexadecimal = EventRecord.framed(event.encoded).map { byte in
      (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }.joined()
    #expect(
      hexadecimal
        == "200000000000000029eda95009000000000000294010032a130a110a0a747261696e2f6c6f737315"
        + "0000403fc223a2cb"
    )
  }

  @Test func aResumedRunHasNoStepTwice() throws {
    let folder = try ScratchFolder()
    var writer = try EventWriter(folder: folder.path)
    for step in 1...5 { try writer.append(step: step, scalars: [("train/loss", Double(step))]) }
    let first = writer.path
    // A record that a kill has cut is none.
    let handle = try #require(FileHandle(forWritingAtPath: first))
    try handle.seekToEnd()
    try handle.write(contentsOf: Data([9, 0, 0, 0, 0]))
    try handle.close()
    writer = try EventWriter(folder: folder.path, keepingSteps: 3)
    #expect(writer.path > first)
    for step in 4...6 { try writer.append(step: step, scalars: [("train/loss", Double(step))]) }
    #expect(folder.names.count == 1)
    #expect(try steps(writer.path) == [1, 2, 3, 4, 5, 6])
    writer = try EventWriter(folder: folder.path)
    #expect(try steps(writer.path) == [])
    #expect(folder.names.count == 1)
  }

  @Test func filesOfOthersStay() throws {
    let folder = try ScratchFolder()
    try folder.write("x", to: "events.out.tfevents.1700000000.host.1.0")
    _ = try EventWriter(folder: folder.path)
    #expect(folder.names.count == 2)
  }

  @Test func everyTruncationEndsWithAWholeRecord() throws {
    let records = (1...3).map { step in
      EventRecord.framed(Event(time: 0, step: step, content: .scalars([.init(tag: "a", value: 1)])).encoded)
    }
    let all = records.flatMap { $0 }
    for count in 0...all.count {
      let contents = Array(all.prefix(count)).withUnsafeBytes { EventRecord.contents(of: $0) }
      #expect(contents.count == count / records[0].count)
    }
    var damaged = all
    damaged[records[0].count + 14] ^= 1
    #expect(damaged.withUnsafeBytes { EventRecord.contents(of: $0) }.count == 1)
    let endless: [UInt8] = [UInt8](repeating: 0xFF, count: 40)
    #expect(endless.withUnsafeBytes { EventRecord.contents(of: $0) }.isEmpty)
  }

  @Test func damagedMessagesHaveNoStep() {
    let message = Event(time: 1, step: 300, content: .scalars([.init(tag: "a", value: 1)])).encoded
    #expect(Event.stepOfScalars(message) == 300)
    #expect(Event.stepOfScalars(Event(time: 1, step: 300, content: .start).encoded) == nil)
    for count in 0..<message.count { _ = Event.stepOfScalars(Array(message.prefix(count))) }
    #expect(Event.stepOfScalars([0x2A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]) == nil)
  }

  @Test func figuresOfALineHaveTags() throws {
    let line = try JSONValue.parse(
      #"{"step": 4, "loss": 1.5, "memory": {"weights": 7}, "throttled": true, "storage_bytes_read": null}"#,
      file: "line")
    let scalars = MetricsScalars.of(try #require(line.objectValue))
    #expect(scalars.map(\.tag) == ["train/loss", "train/memory/weights", "train/throttled"])
    #expect(scalars.map(\.value) == [1.5, 7, 1])
    let evaluation = try JSONValue.parse(
      #"{"step": 4, "eval_loss": 2, "eval_labels": {"a": {"f1": 0.5}}, "eval_confusion_matrix": [[1]], "seconds": 3}"#,
      file: "line")
    let figures = MetricsScalars.of(try #require(evaluation.objectValue))
    #expect(figures.map(\.tag) == ["eval/loss", "eval/labels/a/f1", "eval/seconds"])
  }
}
