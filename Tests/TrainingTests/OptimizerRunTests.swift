import Formats
import Foundation
import Kernels
import Options
import Testing
import Training

private let adapterFile = "adapter_model.safetensors"

/// Runs with each of the optimisers.
struct OptimizerRunTests {
  private static let names = ["adafactor", "sgd", "lion"]

  private static func values(_ name: String) -> [String: [String]] {
    ["optim": [name], "max-steps": ["6"], "save-steps": ["3"], "learning-rate": [name == "sgd" ? "1" : "1e-3"]]
  }

  @Test(arguments: names) func aResumedRunEndsWithTheSameBits(name: String) throws {
    try withFolder { folder in
      let values = Self.values(name).merging(["use-dora": []]) { $1 }
      try train("\(folder)/whole", values)
      try FileManager.default.createDirectory(atPath: "\(folder)/part", withIntermediateDirectories: true)
      try FileManager.default.copyItem(atPath: "\(folder)/whole/checkpoint-3", toPath: "\(folder)/part/checkpoint-3")
      let listener = Listener()
      try train("\(folder)/part", values.merging(["resume": [], "threads": ["2"]]) { $1 }, observer: listener)
      #expect(listener.notes.contains("resumed after step 3"))
      #expect(
        FileManager.default.contentsEqual(
          atPath: "\(folder)/part/\(adapterFile)", andPath: "\(folder)/whole/\(adapterFile)"))
    }
  }

  /// The plan knows what each remembers: nothing, one number a parameter, a few rows, or two numbers a parameter.
  @Test func memoryIsPlanned() throws {
    try withFolder { folder in
      func bytes(_ name: String) throws -> Int {
        let plan = try prepare(folder, ["optim": [name]]).plan
        return plan.memory.byteCountByKind.first { $0.kind == .optimizer }?.byteCount ?? 0
      }
      let count = try prepare(folder, [:]).plan.trainableParameters
      #expect(try bytes("adamw") >= 8 * count)
      #expect(try bytes("sgd") == 0)
      let lion = try bytes("lion")
      #expect(lion >= 4 * count && lion < 4 * count + 4096)
      let factored = try bytes("adafactor")
      #expect(factored > 0 && factored < lion)
    }
  }

  @Test(arguments: names) func theLossFalls(name: String) throws {
    try withFolder { folder in
      let summary = try train(
        folder, Self.values(name).merging(["max-steps": ["40"], "micro-batch-size": ["4"]]) { $1 })
      let losses = try lines("\(folder)/metrics.jsonl").compactMap { $0["loss"]?.doubleValue }
      let end = losses.suffix(8).reduce(0, +) / 8
      #expect(end < 0.95 * losses[0], "\(name): \(losses[0]) to \(end)")
      #expect(summary["plan"]?["optimizer"]?.stringValue == name)
    }
  }

  @Test func anotherOptimizerDoesNotTakeUpACheckpoint() throws {
    try withFolder { folder in
      try train(folder, Self.values("lion"))
      do {
        try train(folder, Self.values("sgd").merging(["resume": [], "max-steps": ["8"]]) { $1 })
        Issue.record("the checkpoint was taken up")
      } catch {
        #expect("\(error)".contains("--optim sgd (was lion)"), "\(error)")
      }
    }
  }

  @Test func namesAreHuggingFaces() throws {
    func options(_ values: [String: [String]]) throws -> TrainingOptions { try TrainingOptions(values) }
    for (name, kind) in [
      ("adamw_torch", OptimizerKind.adamw), ("lion_32bit", .lion), ("adafactor", .adafactor), ("sgd", .sgd),
    ] {
      #expect(try options(["optim": [name]]).optimization.optimizer.kind == kind)
    }
    let rounded = try options(["optim": ["adamw_bnb_8bit"]])
    #expect(rounded.plan.wishes.optimizerMoments == .int8)
    for wrong in [
      ["optim": ["lion_8bit"]], ["optim": ["adam"]], ["optim": ["lion"], "optimizer-moments": ["int8"]],
      ["optim": ["adamw_8bit"], "optimizer-moments": ["f32"]],
    ] {
      #expect(throws: OptionError.self) { try options(wrong) }
    }
  }
}
