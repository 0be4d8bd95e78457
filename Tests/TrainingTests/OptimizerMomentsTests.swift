import Adapters
import Formats
import Foundation
import Kernels
import Memory
import Testing
import Training
import Transformer
import WeightStore

private let adapterFile = "adapter_model.safetensors"

/// A planner for the tiny model with so large adapters that their moments matter.
private func planner(_ moments: MomentFormat? = nil, inputs: LayerInputFormat? = nil) throws -> TrainingPlanner {
  var wishes = StrategyWishes()
  wishes.optimizerMoments = moments
  wishes.layerInputs = inputs
  return try TrainingPlanner(
    model: CausalLanguageModel(store: WeightStore.open(tinyLlama)),
    adapter: LowRankConfiguration(rank: 32, targetModules: .allLinear), precision: .int8,
    pool: ThreadPool(threadCount: 2), rowsPerStep: 2, microBatchSize: 2, rowLength: 64, processByteCount: 20 << 20,
    spillDirectory: ".", wishes: wishes)
}

private func refusal(_ body: () throws -> Void) -> PlanError? {
  do {
    try body()
    return nil
  } catch {
    return error as? PlanError
  }
}

struct OptimizerMomentsPlanTests {
  /// Two bytes and a 64th of four for each parameter, and two blocks of floats for each thread.
  @Test func theBytesAreThoseOfCodesMaximaAndWorkingMemory() throws {
    func optimizerBytes(_ format: MomentFormat) throws -> (bytes: Int, parameters: Int, parts: [Int]) {
      let (plan, memory) = try planner(format).plan(budget: nil)
      let handedOut = memory.arena.buffers.filter { $0.kind == .optimizer }.reduce(0) { $0 + $1.byteCount }
      #expect(plan.memory.byteCountByKind.first { $0.kind == .optimizer }?.byteCount == handedOut)
      return (handedOut, plan.trainableParameters, memory.adapters.matrixCounts)
    }
    func aligned(_ byteCount: Int) -> Int { (byteCount + 63) / 64 * 64 }
    let exact = try optimizerBytes(.f32)
    #expect(exact.bytes == 2 * aligned(exact.parameters * 4))
    let rounded = try optimizerBytes(.int8)
    let blocks = BlockwiseMoments.blockCount(parts: rounded.parts)
    #expect(rounded.parts.reduce(0, +) == rounded.parameters)
    #expect(rounded.bytes == 2 * aligned(rounded.parameters) + 2 * aligned(blocks * 4) + 2 * 2048)
  }

  @Test func momentsLoseBitsOnlyWhereNothingElseFits() throws {
    let auto = try planner()
    let leastExact = try planner(.f32).least()
    let least = try auto.least()
    #expect(least < leastExact)
    #expect(try auto.plan(budget: nil).plan.strategy.losses.isEmpty)
    #expect(try auto.plan(available: nil).plan.strategy.losses.isEmpty)
    #expect(try auto.plan(budget: leastExact).plan.strategy.optimizerMoments == .f32)
    let below = try auto.plan(budget: leastExact - 1).plan
    #expect(below.strategy.optimizerMoments == .int8 && below.predictedPeakBytes < leastExact)
    #expect(below.table.contains("optimiser moments: int8 (lossy"))
    #expect(TrainingPlan.comparison([below]).contains("lossy: optimiser moments as int8"))
    let (frugal, memory) = try auto.plan(budget: least)
    #expect(frugal.predictedPeakBytes + memory.workspace.passingByteCount == least)
    let error = try #require(refusal { _ = try auto.plan(budget: least - 1) })
    #expect(error.least == least)
    #expect("\(error)".contains("optimiser moments as int8 (lossy)"))
  }

  @Test func aWishIsKept() throws {
    #expect(try planner(.int8).plan(budget: nil).plan.strategy.optimizerMoments == .int8)
    #expect(try planner(.int8).plan(available: 8 << 30).plan.strategy.losses == ["optimiser moments as int8"])
    let error = try #require(refusal { _ = try planner(.f32).plan(budget: planner().least()) })
    #expect(try error.least == planner(.f32).least())
    #expect(throws: OptionError.self) { try TrainingOptions(["optimizer-moments": ["int4"]]) }
  }

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
}

struct OptimizerMomentsRunTests {
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
      #expect(listener.notes == ["resumed after step 3"])
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
      let state = "\(folder)/checkpoint-1/trainer_state.json"
      guard case .object(var object) = try JSONValue.parse(contentsOf: state) else { return }
      object["crc32"] = .object(JSONObject())
      try OutputFile.write(JSONValue.object(object).serialized(), to: state)
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
