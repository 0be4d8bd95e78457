import Architectures
import Data
import Foundation
import Testing

/// Samples that are kept in files.
struct SampleListTests {
  private func withFolder(_ body: (String) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("samples-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try body(folder)
  }

  /// One of every kind: all learnt, ranges of it, other labels, labels of its own with types and numbers, wide ids.
  private var kinds: [Sample] {
    let none = Label.ignored
    var labelled = Sample(tokens: [5, 6, 7], labels: [none, 2, none])
    labelled.labelsFollow = false
    labelled.typeIDs = [0, 0, 1]
    labelled.targets = [0.25, -1]
    return [
      Sample(tokens: [1, 2, 3], labels: [1, 2, 3]), Sample(tokens: [4, 5, 6, 7], labels: [none, 5, none, 7]),
      Sample(tokens: [8, 9], labels: [none, none]), Sample(tokens: [1, 2], labels: [none, 9]), labelled,
      Sample(tokens: [70_000, 1], labels: [70_000, 1]), Sample(tokens: [65_535, 0], labels: [none, 0]),
    ]
  }

  @Test func aSampleComesBackAsItWas() throws {
    #expect(try Array(TrainingData(samples: kinds).samples) == kinds)
  }

  /// A sample of 2 to 62 tokens, whose first ones carry no loss.
  private static func made(_ index: Int) -> Sample {
    var tokens: [Int32] = []
    var labels: [Int32] = []
    for place in 0..<(2 + index % 61) {
      let token = Int32((place * 31 + index) % 60_000)
      tokens.append(token)
      labels.append(place < index % 3 ? Label.ignored : token)
    }
    return Sample(tokens: tokens, labels: labels)
  }

  /// More than memory takes: bits, rows and the fingerprint do not depend on where samples are.
  @Test func manySamplesInFilesAreTheSame() throws {
    let many = (0..<60_000).map { Self.made($0) }
    let data = try TrainingData(samples: many)
    #expect(data.samples.count == many.count)
    #expect(data.samples.elementsEqual(many))
    #expect(try data.fingerprint == TrainingData(samples: many).fingerprint)
    let plan = try BatchPlan(data, maximumLength: 64, seed: 3, shuffles: true)
    let epoch = plan.stepsPerEpoch(rowsPerStep: 8)
    var seen: [Int32: Int] = [:]
    for step in [0, 1, epoch - 1, epoch, 2 * epoch + 1] {
      for batch in plan.step(step, rows: 8, microBatchSize: 4) {
        #expect(batch.rowLength == 64)
        for token in batch.tokens { seen[token, default: 0] += 1 }
      }
    }
    #expect(!seen.isEmpty)
    let parts = try data.split(0.1, seed: 5)
    #expect(parts.evaluation.samples.count == 6000 && parts.train.samples.count == 54_000)
    func tokens(_ samples: SampleList) -> Int {
      var sum = 0
      for sample in samples { sum += sample.tokens.count }
      return sum
    }
    #expect(tokens(parts.train.samples) + tokens(parts.evaluation.samples) == tokens(data.samples))
  }

  @Test func whatWasReadIsFoundAgainUnlessItIsDamagedOrAnother() throws {
    try withFolder { folder in
      let file = "\(folder)/data.jsonl"
      try "one".write(toFile: file, atomically: true, encoding: .utf8)
      var reads = 0
      func data(_ length: Int) throws -> TrainingData {
        let cache = try SampleCache(
          folder: folder, purpose: "train", settings: [("length", "\(length)")], files: [file])
        return try cache.data(note: { _ in }) { place in
          reads += 1
          var data = try TrainingData(samples: kinds, in: place)
          data.labelling = Labelling(task: .sequenceClassification, problem: .multiLabel, labels: ["a", "b"])
          return data
        }
      }
      func kept() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasPrefix(".data-") }
      }
      let first = try data(8)
      let again = try data(8)
      #expect(reads == 1 && first.samples == again.samples && first.fingerprint == again.fingerprint)
      #expect(again.labelling == first.labelling && again.labelling?.labels == ["a", "b"])
      let path = "\(folder)/\(try #require(kept().first))/records"
      var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
      bytes[3] ^= 1
      try bytes.write(to: URL(fileURLWithPath: path))
      #expect(try Array(data(8).samples) == kinds)
      #expect(reads == 2, "a damaged cache is not used")
      _ = try data(9)
      #expect(reads == 3, "other settings are other data")
      #expect(try kept().count == 1, "the new one takes the place of the old one")
      try "another".write(toFile: file, atomically: true, encoding: .utf8)
      _ = try data(9)
      #expect(reads == 4, "another file is other data")
    }
  }
}
