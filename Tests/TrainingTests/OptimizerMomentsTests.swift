import Formats
import Foundation
import Options
import Testing
import Training

private let adapterFile = "adapter_model.safetensors"

struct OptimizerMomentsTests {
  @Test func aPlanInAFileIsTakenAsItIs() throws {
    try withFolder { folder in
      let plan = try prepare(folder, ["optimizer-moments": ["int8"]]).plan
      let file = "\(folder)/plan.json"
      #expect(plan.json["optimizer_moments"]?.stringValue == "int8")
      try plan.json.serialized().write(toFile: file, atomically: true, encoding: .utf8)
      let again = try prepare(folder, ["plan": [file]]).plan
      #expect(again.strategy.optimizerMoments == .int8)
      #expect(
        again.memory.byteCountByKind.first { $0.kind == .optimizer }?.byteCount
          == plan.memory.byteCountByKind.first { $0.kind == .optimizer }?.byteCount)
      try plan.json.serialized().replacingOccurrences(of: "\"int8\"", with: "\"int4\"")
        .write(toFile: file, atomically: true, encoding: .utf8)
      #expect(throws: OptionError.self) { try prepare(folder, ["plan": [file]]) }
    }
  }

  /// Labels have no vocabulary that is cut into columns.
  @Test func aPlanForLabelsInAFileIsTakenAsItIs() throws {
    try withFolder { folder in
      let plan = try prepare(folder, [:], data: "intents/held-out.jsonl").plan
      let file = "\(folder)/plan.json"
      try plan.json.serialized().write(toFile: file, atomically: true, encoding: .utf8)
      let again = try prepare(folder, ["plan": [file]], data: "intents/held-out.jsonl").plan
      let (before, after) = (plan.memory, again.memory)
      #expect(
        after.byteCountByKind.first { $0.kind == .head }?.byteCount
          == before.byteCountByKind.first { $0.kind == .head }?.byteCount)
    }
  }

  private static let rounded = ["optimizer-moments": ["int8"]]

  @Test func threadCountDoesNotChangeTheAdapter() throws {
    try withFolder { folder in
      for threads in ["1", "2"] {
        try train(
          "\(folder)/\(threads)", Self.rounded.merging(["max-steps": ["5"], "threads": [threads]]) { $1 })
      }
      #expect(
        FileManager.default.contentsEqual(atPath: "\(folder)/1/\(adapterFile)", andPath: "\(folder)/2/\(adapterFile)"))
    }
  }

  @Test func aResumedRunEndsWithTheSameBits() throws {
    try withFolder { folder in
      let values = Self.rounded.merging(["max-steps": ["6"], "save-steps": ["3"]]) { $1 }
      try train("\(folder)/whole", values)
      try FileManager.default.createDirectory(atPath: "\(folder)/part", withIntermediateDirectories: true)
      try FileManager.default.copyItem(atPath: "\(folder)/whole/checkpoint-3", toPath: "\(folder)/part/checkpoint-3")
      let listener = Listener()
      try train("\(folder)/part", values.merging(["resume": []]) { $1 }, observer: listener)
      #expect(listener.notes.contains("resumed after step 3"))
      #expect(
        FileManager.default.contentsEqual(
          atPath: "\(folder)/part/\(adapterFile)", andPath: "\(folder)/whole/\(adapterFile)"))
    }
  }

  /// Moments in the other form are converted, and the run says so.
  @Test(arguments: [("f32", "int8"), ("int8", "f32")]) func aCheckpointInTheOtherFormIsConverted(
    stored: String, wanted: String
  ) throws {
    try withFolder { folder in
      let output = "\(folder)/adapter"
      let values = ["max-steps": ["4"], "save-steps": ["2"], "save-total-limit": ["9"]]
      try train(output, values.merging(["optimizer-moments": [stored]]) { $1 })
      let whole = try lines("\(output)/metrics.jsonl").compactMap { $0["loss"]?.doubleValue }
      try FileManager.default.removeItem(atPath: "\(output)/checkpoint-4")
      let listener = Listener()
      try train(output, values.merging(["optimizer-moments": [wanted], "resume": []]) { $1 }, observer: listener)
      let converted = try #require(listener.notes.first { $0.contains("converted") })
      #expect(converted.contains("are \(stored), the plan's \(wanted)"))
      let resumed = try lines("\(output)/metrics.jsonl").compactMap { $0["loss"]?.doubleValue }
      #expect(resumed.count == 4 && resumed[..<3] == whole[..<3])
      #expect(abs(resumed[3] / whole[3] - 1) < 0.01, "\(resumed[3]) for \(whole[3])")
    }
  }

  /// How the state of a checkpoint may be wrong, with what the error names.
  private static let damages: [(String, @Sendable (inout [(String, ElementType, [UInt8])]) -> Void)] = [
    ("exp_avg", { $0.removeAll { $0.0 == "exp_avg" } }),
    ("exp_avg", { $0[1].2.removeLast() }),
    ("exp_avg_absmax", { $0[2].2.removeLast(4) }),
    ("exp_avg_absmax", { $0.remove(at: 2) }),
    ("exp_avg_absmax", { $0[2].2.replaceSubrange(0..<4, with: [0, 0, 0xC0, 0x7F]) }),
    ("exp_avg_absmax", { $0[2].2.replaceSubrange(0..<4, with: [0, 0, 0x80, 0xBF]) }),
    ("exp_avg_sq", { $0[3].1 = .i8 }),
    ("exp_avg_sq_absmax", { $0[4].2 += [0, 0, 0, 0] }),
    ("parameters", { $0[0].2.removeLast(4) }),
  ]

  @Test(arguments: ["f32", "int8"], damages.indices) func aDamagedStateIsRefused(wanted: String, index: Int) throws {
    try withFolder { folder in
      let values = Self.rounded.merging(["max-steps": ["2"], "save-steps": ["1"]]) { $1 }
      try train(folder, values)
      let path = "\(folder)/checkpoint-1/optimizer.safetensors"
      var tensors = try ["parameters", "exp_avg", "exp_avg_absmax", "exp_avg_sq", "exp_avg_sq_absmax"].map {
        name -> (String, ElementType, [UInt8]) in
        let tensor = try #require(SafetensorsFile(path: path).tensor(name))
        return (name, tensor.elementType, Array(tensor.bytes))
      }
      Self.damages[index].1(&tensors)
      let writer = try SafetensorsWriter(path: path, headerByteCount: 4096)
      for (name, type, bytes) in tensors {
        try writer.write(name, type, shape: [bytes.count / type.byteCount], bytes)
      }
      try writer.finish()
      try FileManager.default.removeItem(atPath: "\(folder)/checkpoint-2")
      try TrainingCheckpoint.reseal(step: 1, in: folder)
      do {
        try train(folder, values.merging(["resume": [], "optimizer-moments": [wanted]]) { $1 })
        Issue.record("the state was taken")
      } catch let error as CheckpointError {
        #expect("\(error)".contains("\(Self.damages[index].0) "), "\(error)")
      }
    }
  }

  @Test func trainingGetsAsFarAsWithExactMoments() throws {
    try withFolder { folder in
      func losses(_ format: String) throws -> [Double] {
        let output = "\(folder)/\(format)"
        try train(
          output,
          [
            "max-steps": ["60"], "micro-batch-size": ["4"], "target-modules": ["all-linear"], "learning-rate": ["3e-3"],
            "optimizer-moments": [format],
          ])
        return try lines("\(output)/metrics.jsonl").compactMap { $0["loss"]?.doubleValue }
      }
      func end(_ losses: [Double]) -> Double { losses.suffix(10).reduce(0, +) / 10 }
      let exact = try losses("f32")
      let rounded = try losses("int8")
      #expect(rounded != exact)
      #expect(end(exact) < 0.7 * exact[0])
      #expect(abs(end(rounded) / end(exact) - 1) < 0.03, "\(end(rounded)) for \(end(exact))")
    }
  }
}
