import Formats
import Foundation
import Options
import Testing
import Training

private let weights = "adapter_model.safetensors"
private let manager = FileManager.default

private func names(_ folder: String) throws -> Set<String> { Set(try manager.contentsOfDirectory(atPath: folder)) }

/// What a run owns, and what it leaves for the next one.
struct RunFolderTests {
  private static let short = ["max-steps": ["4"], "save-steps": ["2"]]

  @Test func aNewRunSetsTheCheckpointsOfAnEarlierOneAside() throws {
    try withFolder { folder in
      try train(folder, Self.short)
      try manager.removeItem(atPath: "\(folder)/\(weights)")
      #expect(throws: OutputInUse.self) { try prepare(folder, Self.short).run() }
      // Stopped before its first checkpoint, a new run with other options has nothing to go on from.
      let other = Self.short.merging(["rank": ["4"]]) { $1 }
      let listener = Listener()
      _ = try prepare(folder, other.merging(["force": []]) { $1 }, observer: listener).run {
        listener.steps < 1 ? nil : 15
      }
      #expect(try names(folder).filter { $0.hasPrefix("checkpoint-") } == ["checkpoint-1"])
      #expect(try names("\(folder)/earlier") == ["checkpoint-2", "checkpoint-4"])
      let resumed = Listener()
      try train(folder, other.merging(["resume": []]) { $1 }, observer: resumed)
      #expect(resumed.notes.last == "resumed after step 1")
      #expect(try lines("\(folder)/metrics.jsonl").map { $0["step"]?.intValue } == [1, 2, 3, 4])
    }
  }

  /// The number in a name may be that of another process by now, here of the one that every machine has.
  @Test func whatAKilledRunLeftGoesWhoeverHasItsNumber() throws {
    try withFolder { folder in
      for name in [".checkpoint-2.partial-1", ".checkpoint-9.partial-1", "..adapter.partial-1", ".notes.partial-1"] {
        try manager.createDirectory(atPath: "\(folder)/\(name)", withIntermediateDirectories: true)
      }
      try train(folder, Self.short)
      #expect(try names(folder).filter { $0.contains(".partial-") } == [".notes.partial-1"])
    }
  }

  /// Files of another method or task would be read as part of the new adapter; a model is not written into.
  @Test func whatAnEarlierAdapterHadIsNoPartOfTheNewOne() throws {
    try withFolder { folder in
      for name in ["config.json", "adapter.safetensors", "head_config.json", "notes.txt"] {
        try "x".write(toFile: "\(folder)/\(name)", atomically: true, encoding: .utf8)
      }
      try train(folder, Self.short.merging(["force": []]) { $1 })
      #expect(Set(["config.json", "adapter.safetensors", "head_config.json"]).isDisjoint(with: try names(folder)))
      #expect(try names(folder).contains("notes.txt"))
      try "x".write(toFile: "\(folder)/model.safetensors", atomically: true, encoding: .utf8)
      #expect(throws: OutputInUse.self) { try prepare(folder, Self.short.merging(["force": []]) { $1 }).run() }
    }
  }

  /// As a kill leaves it between the moment when a new run has its name and the moment when the older checkpoints go.
  @Test func aCheckpointOfAnotherRunIsNeverTakenUp() throws {
    try withFolder { folder in
      try train("\(folder)/old", Self.short)
      try train("\(folder)/new", Self.short.merging(["max-steps": ["2"]]) { $1 })
      try manager.moveItem(atPath: "\(folder)/old/checkpoint-4", toPath: "\(folder)/new/checkpoint-4")
      let listener = Listener()
      try train("\(folder)/new", Self.short.merging(["resume": []]) { $1 }, observer: listener)
      #expect(listener.notes.last == "resumed after step 2")
    }
  }

  @Test func anotherBaseOfTheSameShapeIsNoticed() throws {
    try withFolder { folder in
      try manager.copyItem(atPath: tinyLlama, toPath: "\(folder)/model")
      let output = "\(folder)/adapter"
      _ = try prepare(output, Self.short, model: "\(folder)/model").run()
      let file = "\(folder)/model/model.safetensors"
      var bytes = try #require(manager.contents(atPath: file))
      for index in stride(from: bytes.count / 2, to: bytes.count, by: 64) { bytes[index] ^= 1 }
      try bytes.write(to: URL(fileURLWithPath: file))
      let values = Self.short.merging(["max-steps": ["6"], "resume": []]) { $1 }
      do {
        _ = try prepare(output, values, model: "\(folder)/model").run()
        Issue.record("the other base was taken")
      } catch let error as CheckpointError { #expect("\(error)".contains("another base model"), "\(error)") }
    }
  }

  /// What decides which state is the best, and what is learnt of a row, belong to a run as its data does.
  @Test func otherDataToEvaluateOnAndPromptsAreNoticed() throws {
    try withFolder { folder in
      for name in ["a", "b"] {
        try (0..<4).map { "{\"text\": \"\(name) light \($0)\"}\n" }.joined()
          .write(toFile: "\(folder)/\(name).jsonl", atomically: true, encoding: .utf8)
      }
      let output = "\(folder)/adapter"
      let values = Self.short.merging(["eval-data": ["\(folder)/a.jsonl"]]) { $1 }
      try train(output, values)
      for (changed, expected) in [
        (["eval-data": ["\(folder)/b.jsonl"]], "other data to evaluate on"),
        (["train-on-prompt": []], "--train-on-prompt"),
      ] {
        do {
          try train(output, values.merging(changed) { $1 }.merging(["resume": [], "max-steps": ["6"]]) { $1 })
          Issue.record("\(expected) is not noticed")
        } catch let error as CheckpointError { #expect("\(error)".contains(expected), "\(error)") }
      }
      try train(output, values.merging(["resume": [], "max-steps": ["6"]]) { $1 })
    }
  }

  /// LoRA-FA takes `A` from where it started, at every start.
  @Test func anotherAdapterToStartFromIsNoticedWhereAPartOfItStays() throws {
    try withFolder { folder in
      let start = "\(folder)/start"
      try train(start, ["max-steps": ["1"], "rank": ["2"]])
      let values = Self.short.merging(["init-adapter": [start], "lora-fa": []]) { $1 }
      let output = "\(folder)/adapter"
      try train(output, values)
      let longer = values.merging(["max-steps": ["6"], "resume": []]) { $1 }
      try train(start, ["max-steps": ["1"], "rank": ["2"], "seed": ["7"], "force": []])
      #expect(throws: CheckpointError.self) { try train(output, longer) }
      try train(start, ["max-steps": ["1"], "rank": ["2"], "force": []])
      try train(output, longer)
    }
  }

  /// What comes of it could not be used: DoRA scales what the frozen one adds to.
  @Test func aDoRAAdapterDoesNotGoOnAboveAFrozenOne() throws {
    try withFolder { folder in
      let (scaled, plain) = ("\(folder)/dora", "\(folder)/lora")
      try train(scaled, ["max-steps": ["1"], "rank": ["2"], "method": ["dora"]])
      try train(plain, ["max-steps": ["1"], "rank": ["2"]])
      let values = ["init-adapter": [scaled], "freeze-adapter": [plain]]
      #expect(throws: OptionError.self) { try prepare("\(folder)/adapter", values) }
    }
  }

  @Test func whatDoesNotGoOnAboveAFrozenAdapterIsNamed() {
    #expect {
      _ = try TrainingOptions(["freeze-adapter": ["some"], "use-dora": []])
    } throws: { "\($0)".contains("does not go with --use-dora,") }
  }

  @Test func everyChangedByteOfACheckpointIsNoticed() throws {
    try withFolder { folder in
      try train(folder, ["max-steps": ["1"], "rank": ["1"]])
      #expect(TrainingCheckpoint.isWhole(step: 1, in: folder))
      for name in ["trainer_state.json", "adapter_config.json", "optimizer.safetensors", weights] {
        let file = "\(folder)/checkpoint-1/\(name)"
        let whole = try #require(manager.contents(atPath: file))
        for index in stride(from: 0, to: whole.count, by: max(1, whole.count / 97)) {
          for bit in [UInt8(1), 0x80] {
            var bytes = whole
            bytes[index] ^= bit
            try bytes.write(to: URL(fileURLWithPath: file))
            // White space between the parts of a JSON file may change without changing what it says.
            if TrainingCheckpoint.isWhole(step: 1, in: folder) {
              #expect(name == "trainer_state.json" && [0x20, 0x0A].contains(whole[index]), "\(name) \(index)")
            }
          }
        }
        try whole.prefix(whole.count / 2).write(to: URL(fileURLWithPath: file))
        #expect(!TrainingCheckpoint.isWhole(step: 1, in: folder))
        try whole.write(to: URL(fileURLWithPath: file))
      }
      let state = "\(folder)/checkpoint-1/trainer_state.json"
      for step in ["-9223372036854775808", "-1", "0", "2", "1e300", "9223372036854775807", "null"] {
        let text = try String(contentsOfFile: state, encoding: .utf8)
        try text.replacingOccurrences(of: "\"global_step\": 1", with: "\"global_step\": \(step)")
          .write(toFile: state, atomically: true, encoding: .utf8)
        #expect(!TrainingCheckpoint.isWhole(step: 1, in: folder))
        try text.write(toFile: state, atomically: true, encoding: .utf8)
      }
    }
  }

  /// It may be whole: the next save would remove it. A link to itself is what nobody can open, whoever asks.
  @Test func aCheckpointThatCannotBeReadEndsTheRunAndStays() throws {
    try withFolder { folder in
      try train(folder, Self.short)
      let file = "\(folder)/checkpoint-4/optimizer.safetensors"
      try manager.moveItem(atPath: file, toPath: "\(folder)/moments")
      try manager.createSymbolicLink(atPath: file, withDestinationPath: file)
      let longer = ["max-steps": ["6"], "save-steps": ["1"], "save-total-limit": ["1"], "resume": []]
      do {
        try train(folder, longer)
        Issue.record("the run went on")
      } catch let error as CheckpointError {
        let text = "\(error)"
        #expect(text.contains("\(file): cannot be read: ") && text.contains("--resume again"), "\(text)")
      }
      #expect(try names(folder).isSuperset(of: ["checkpoint-2", "checkpoint-4"]))
      try manager.removeItem(atPath: file)
      try manager.moveItem(atPath: "\(folder)/moments", toPath: file)
      let listener = Listener()
      try train(folder, longer, observer: listener)
      #expect(listener.notes.contains("resumed after step 4"))
    }
  }

  /// A card that dies gives back no more: an older checkpoint goes on. Too many open files say nothing of the checkpoint.
  @Test func onlyWhatTheDiskHasLostIsDamage() throws {
    func opening(_ code: Int32) -> FileError {
      errno = code
      return .cannotOpen(file: "optimizer.safetensors", reason: .system("reading stopped"))
    }
    for code in [EIO, ENOENT, ENOTDIR] {
      #expect(try "\(TrainingCheckpoint.damage(opening(code), of: "checkpoint-1"))" == "\(opening(code))")
    }
    for code in [EMFILE, EACCES, ENOMEM] {
      do {
        _ = try TrainingCheckpoint.damage(opening(code), of: "checkpoint-1")
        Issue.record("error \(code) counts as damage")
      } catch let error as CheckpointError {
        #expect("\(error)".contains("optimizer.safetensors: cannot be read: reading stopped: "), "\(error)")
      }
    }
  }

  @Test func aDamagedCheckpointFallsBackAndDoesNotCount() throws {
    try withFolder { folder in
      let values = ["max-steps": ["8"], "save-steps": ["2"], "save-total-limit": ["2"]]
      try train("\(folder)/whole", values)
      let listener = Listener()
      _ = try prepare("\(folder)/part", values, observer: listener).run { listener.steps < 5 ? nil : 15 }
      #expect(try names("\(folder)/part").isSuperset(of: ["checkpoint-4", "checkpoint-5"]))
      try Data().write(to: URL(fileURLWithPath: "\(folder)/part/checkpoint-5/optimizer.safetensors"))
      let resumed = Listener()
      let run = try prepare("\(folder)/part", values.merging(["resume": []]) { $1 }, observer: resumed)
      _ = try run.run { resumed.steps < 2 ? nil : 15 }
      #expect(resumed.notes.contains { $0.contains("an older checkpoint is tried") })
      #expect(resumed.notes.contains("resumed after step 4"))
      let left = try names("\(folder)/part").filter { $0.hasPrefix("checkpoint-") }
      #expect(left == ["checkpoint-4", "checkpoint-6"])
      try train("\(folder)/part", values.merging(["resume": []]) { $1 })
      #expect(manager.contentsEqual(atPath: "\(folder)/part/\(weights)", andPath: "\(folder)/whole/\(weights)"))
    }
  }

  @Test func aFinishedRunGoesOnFromItsEnd() throws {
    try withFolder { folder in
      let values = ["max-steps": ["3"], "lr-scheduler": ["constant"]]
      try train(folder, values)
      let before = try lines("\(folder)/metrics.jsonl")
      let listener = Listener()
      try train(folder, values.merging(["max-steps": ["5"], "resume": []]) { $1 }, observer: listener)
      #expect(listener.notes.last == "resumed after step 3" && listener.steps == 2)
      let after = try lines("\(folder)/metrics.jsonl")
      #expect(Array(after.prefix(3)) == before && after.count == 5)
      try train("\(folder)/whole", values.merging(["max-steps": ["5"]]) { $1 })
      #expect(manager.contentsEqual(atPath: "\(folder)/\(weights)", andPath: "\(folder)/whole/\(weights)"))
      // Without a checkpoint it does not begin anew over what is finished.
      try manager.removeItem(atPath: "\(folder)/checkpoint-5")
      try manager.removeItem(atPath: "\(folder)/checkpoint-3")
      #expect(throws: OutputInUse.self) { try train(folder, values.merging(["resume": []]) { $1 }) }
    }
  }

  @Test func aSecondRunWithTheSameOutputIsRefused() throws {
    try withFolder { folder in
      let run = try prepare(folder, Self.short)
      let lock = try FolderLock(folder: folder, purpose: "train")
      #expect(throws: FolderLock.Held.self) { try run.run() }
      #expect(throws: FolderLock.Held.self) { try TrainingOptions(["output": [folder]]).output.check() }
      withExtendedLifetime(lock) {}
    }
  }

  @Test func recordsThatAreLostAreTold() throws {
    try withFolder { folder in
      try train(folder, Self.short)
      let file = "\(folder)/metrics.jsonl"
      let text = try String(contentsOfFile: file, encoding: .utf8)
      let kept = text.split(separator: "\n").prefix(2).joined(separator: "\n")
      try "\(kept)\n".write(toFile: file, atomically: true, encoding: .utf8)
      let listener = Listener()
      try train(folder, Self.short.merging(["max-steps": ["5"], "resume": []]) { $1 }, observer: listener)
      #expect(listener.notes.contains { $0.contains("lacks 2 of the first 4 steps") })
    }
  }

  /// A stop inside a step drops the step; one inside an evaluation leaves the evaluation to the run that goes on.
  @Test(arguments: [1, 2, 7, 13, 20, 21, 30, 31, 32, 33, 34, 40]) func aStopIsHeededEverywhere(question: Int) throws {
    try withFolder { folder in
      let values = ["max-steps": ["3"], "eval-split": ["0.1"], "eval-steps": ["1"], "rank": ["2"]]
      try train("\(folder)/whole", values)
      var asked = 0
      let outcome = try prepare("\(folder)/part", values).run {
        asked += 1
        return asked >= question ? 1 : nil
      }
      if question < 20 { #expect(outcome.signalNumber == 1) }
      try train("\(folder)/part", values.merging(["resume": []]) { $1 })
      #expect(manager.contentsEqual(atPath: "\(folder)/part/\(weights)", andPath: "\(folder)/whole/\(weights)"))
      func records(_ name: String) throws -> [[JSONValue?]] {
        try lines("\(folder)/\(name)/metrics.jsonl").map { [$0["step"], $0["loss"], $0["eval_loss"]] }
      }
      #expect(try records("part") == records("whole"))
    }
  }
}
