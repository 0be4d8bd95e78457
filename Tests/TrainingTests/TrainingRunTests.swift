import Formats
import Foundation
import Planning
import Testing
import Training
import Tuning

/// The keys that README lists: other programs read them.
@Test func theRecordsOfARunHaveTheirKeys() throws {
  try withFolder { folder in
    let output = "\(folder)/adapter"
    let summary = try train(
      output, ["max-steps": ["3"], "eval-split": ["0.1"], "eval-steps": ["2"], "max-mem": ["1G"]])
    let metrics = try lines("\(output)/metrics.jsonl")
    #expect(metrics.map { $0["step"]?.intValue } == [0, 1, 2, 2, 3, 3])
    for line in metrics where line["eval_loss"] == nil {
      #expect(
        line.objectValue?.keys.starts(with: [
          "step", "loss", "learning_rate", "grad_norm", "tokens_per_second", "rss_bytes", "memory",
          "storage_bytes_read", "seconds",
        ]) == true)
      #expect(line["memory"]?.objectValue?.entries.allSatisfy { $0.value.intValue != nil } == true)
      #expect(line["storage_bytes_read"]?.intValue ?? -1 >= 0)
      #expect(line["loss"]?.doubleValue ?? 0 > 0 && line["rss_bytes"]?.intValue ?? 0 > 1 << 20)
    }
    #expect(
      metrics.filter { $0["eval_loss"] != nil }.allSatisfy {
        $0.objectValue?.keys == ["step", "eval_loss", "eval_perplexity"]
      })
    #expect(try JSONValue.parse(contentsOf: "\(output)/summary.json") == summary)
    #expect(summary["completed"]?.boolValue == true)
    for key in [
      "steps", "tokens_per_second", "predicted_tokens_per_second", "predicted_peak_bytes", "measured_peak_bytes",
      "first_loss", "last_loss", "eval_loss",
    ] {
      #expect(summary[key]?.doubleValue ?? 0 > 0, "\(key)")
    }
    for key in [
      "row_length", "trainable_parameters", "budget_bytes",
      "predicted_peak_bytes",
    ] {
      #expect(summary["plan"]?[key]?.intValue ?? 0 > 0, "plan.\(key)")
    }
  }
}

/// Where weights pass through, the largest budget of the comparison has room for what is read ahead.
@Test(arguments: ["0", "2"]) func budgetsAreComparedWhereWeightsPassThrough(residentLayers: String) throws {
  try withFolder { folder in
    let plans = try prepare("\(folder)/adapter", ["resident-layers": [residentLayers]]).plansByBudget()
    #expect(plans.last?.strategy.residentLayers == Int(residentLayers))
    for plan in plans { #expect(plan.predictedPeakBytes < plan.budget ?? 0) }
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder).isEmpty)
  }
}

/// A plan file is written by hand as well: a slice narrower than the softmax's blocks is made as wide as one of them.
@Test(arguments: ["true", "false"]) func aPlanWithNarrowSlicesOfTheHeadTrains(residentHead: String) throws {
  try withFolder { folder in
    let summary = try train("\(folder)/first", ["max-steps": ["1"]])
    var plan = try #require(summary["plan"]).serialized()
    for (key, value) in [("head_columns", "1"), ("resident_head", residentHead)] {
      let place = try #require(plan.firstRange(of: try Regex("\"\(key)\": *[a-z0-9]+")))
      plan.replaceSubrange(place, with: "\"\(key)\": \(value)")
    }
    try plan.write(toFile: "\(folder)/plan.json", atomically: true, encoding: .utf8)
    let narrow = try train("\(folder)/second", ["max-steps": ["1"], "plan": ["\(folder)/plan.json"]])
    #expect(narrow["last_loss"] == summary["last_loss"])
  }
}

@Test func aResumedRunWritesTheSameRecords() throws {
  try withFolder { folder in
    let values = ["max-steps": ["6"], "save-steps": ["3"]]
    try train("\(folder)/whole", values)
    try FileManager.default.createDirectory(atPath: "\(folder)/part", withIntermediateDirectories: true)
    try FileManager.default.copyItem(atPath: "\(folder)/whole/checkpoint-3", toPath: "\(folder)/part/checkpoint-3")
    // Lines after the checkpoint and half a line, as a run that was killed leaves them.
    let whole = try String(contentsOfFile: "\(folder)/whole/metrics.jsonl", encoding: .utf8)
    try String(whole.dropLast(40)).write(toFile: "\(folder)/part/metrics.jsonl", atomically: true, encoding: .utf8)
    try train("\(folder)/part", values.merging(["resume": []]) { $1 })
    func steps(_ name: String) throws -> [[JSONValue?]] {
      try lines("\(folder)/\(name)/metrics.jsonl").map {
        [$0["step"], $0["loss"], $0["grad_norm"], $0["learning_rate"]]
      }
    }
    #expect(try steps("part") == steps("whole"))
    let name = "adapter_model.safetensors"
    #expect(
      FileManager.default.contentsEqual(atPath: "\(folder)/part/\(name)", andPath: "\(folder)/whole/\(name)"))
  }
}

/// A run that is stopped says so, and one that goes on tells of the whole.
@Test func theSummaryIsOfTheWholeRun() throws {
  try withFolder { folder in
    let values = ["max-steps": ["5"]]
    let whole = try train("\(folder)/whole", values)
    let listener = Listener()
    let run = try prepare("\(folder)/part", values, observer: listener)
    let stopped = try run.run { listener.steps < 2 ? nil : 15 }
    #expect(stopped.signalNumber == 15)
    let part = try JSONValue.parse(contentsOf: "\(folder)/part/summary.json")
    #expect(part == stopped.summary)
    #expect(part["completed"]?.boolValue == false && part["steps"]?.intValue == 2)
    #expect(part["first_loss"] == whole["first_loss"] && part["last_loss"] != whole["last_loss"])
    let resumed = try train("\(folder)/part", values.merging(["resume": []]) { $1 })
    for key in ["completed", "steps", "first_loss", "last_loss"] { #expect(resumed[key] == whole[key], "\(key)") }
    try FileManager.default.removeItem(atPath: "\(folder)/part/checkpoint-5")
    // without its line nobody knows the first loss
    try FileManager.default.removeItem(atPath: "\(folder)/part/metrics.jsonl")
    let lost = try train("\(folder)/part", values.merging(["resume": []]) { $1 })
    #expect(lost["first_loss"] == .null && lost["last_loss"] == whole["last_loss"])
  }
}

@Test func anOutputThatExistsIsRefusedBeforeAnythingIsRead() throws {
  try withFolder { folder in
    func check(_ values: [String: [String]]) throws {
      try TrainingOptions(values.merging(["output": [folder]]) { $1 }).output.check()
    }
    #expect(throws: Never.self) { try check([:]) }
    try "".write(toFile: "\(folder)/adapter_model.safetensors", atomically: true, encoding: .utf8)
    #expect(throws: FileError.self) { try check([:]) }
    #expect(throws: FileError.self) { try prepare(folder, ["max-steps": ["1"]]).run() }
    #expect(throws: Never.self) { try check(["force": []]) }
    #expect(throws: Never.self) { try check(["resume": []]) }
    #expect(throws: Never.self) { try check(["dump-gradients": ["\(folder)/gradients"]]) }
    #expect(throws: FileError.self) { try check(["dump-gradients": ["\(folder)/adapter_model.safetensors"]]) }
  }
}

@Test func gradientsReplaceGradientsAlone() throws {
  try withFolder { folder in
    func check(_ name: String) throws {
      try TrainingOptions(["dump-gradients": ["\(folder)/\(name)"], "force": []]).output.check()
    }
    let weights = try Data(contentsOf: URL(fileURLWithPath: "\(tinyLlama)/model.safetensors"))
    for name in ["gradients", "model.safetensors", "adapter_model.safetensors"] {
      try weights.write(to: URL(fileURLWithPath: "\(folder)/\(name)"))
    }
    try "{}\n".write(toFile: "\(folder)/data.jsonl", atomically: true, encoding: .utf8)
    #expect(throws: Never.self) { try check("gradients") }
    for name in ["model.safetensors", "adapter_model.safetensors", "data.jsonl"] {
      #expect(throws: FileError.self, "\(name)") { try check(name) }
    }
  }
}

@Test func aCheckpointIsNoOutput() throws {
  try withFolder { folder in
    try "{}".write(toFile: "\(folder)/trainer_state.json", atomically: true, encoding: .utf8)
    for flag in ["force", "resume"] {
      #expect(throws: OutputInUse.self) { try TrainingOptions(["output": [folder], flag: []]).output.check() }
    }
  }
}

/// Gradients alone leave no output folder, so layer inputs go where they go.
@Test func gradientsAreDumpedWithLayerInputsInAFile() throws {
  try withFolder { folder in
    let gradients = "\(folder)/gradients.safetensors"
    try train("\(folder)/adapter", ["dump-gradients": [gradients], "layer-inputs": ["spilled"]])
    #expect(FileManager.default.fileExists(atPath: gradients))
    #expect(!FileManager.default.fileExists(atPath: "\(folder)/adapter"))
  }
}

@Test func anAdapterIsWrittenAsPEFTNamesIt() throws {
  try withFolder { folder in
    try train(
      folder + "/a",
      ["max-steps": ["1"], "rank": ["3"], "alpha": ["7.5"], "use-rslora": [], "target-modules": ["q_proj,up_proj"]])
    let config = try JSONValue.parse(contentsOf: folder + "/a/adapter_config.json")
    #expect(config["peft_type"]?.stringValue == "LORA" && config["task_type"]?.stringValue == "CAUSAL_LM")
    #expect(config["r"]?.intValue == 3 && config["lora_alpha"]?.doubleValue == 7.5)
    #expect(config["use_rslora"]?.boolValue == true)
    #expect(config["target_modules"]?.arrayValue?.compactMap(\.stringValue) == ["q_proj", "up_proj"])
    let tensors = try SafetensorsFile(path: folder + "/a/adapter_model.safetensors").tensorNames
    #expect(tensors.count == 16)
    #expect(tensors.contains("base_model.model.model.layers.3.mlp.up_proj.lora_B.weight"))
    try train(folder + "/b", ["max-steps": ["1"], "init-adapter": [folder + "/a"]])
    #expect(try LowRankConfiguration.load(from: folder + "/b") == LowRankConfiguration.load(from: folder + "/a"))
  }
}
