import Advice
import Architectures
import Formats
import Foundation
import Options
import Planning
import Testing

private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()
private let tinyLlama = root.appendingPathComponent("Models/tiny-llama").path
private let homeControl = root.appendingPathComponent("Models/home-control/held-out.jsonl").path
private let intents = root.appendingPathComponent("Models/home-control/intents/held-out.jsonl").path

private final class Silence: AdviceObserver {
  func note(_ line: String) {}
  func progress(_ done: Int, of all: Int, _ text: String) {}
}

/// Advice for the tiny model; no steps are tried, so that nothing depends on the machine but the speeds.
private func advice(_ file: String, _ values: [String: [String]] = [:]) throws -> Advice {
  var given: [String: [String]] = ["max-length": ["64"], "threads": ["1"], "no-trial": []]
  given.merge(values) { $1 }
  return try Advisor(given: given, modelDirectory: tinyLlama, files: [file], observer: Silence()).advise()
}

/// A file that is gone afterwards.
private func withFile(_ name: String, _ text: String, _ body: (String) throws -> Void) throws {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("advice-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  let path = folder.appendingPathComponent(name).path
  try text.write(toFile: path, atomically: true, encoding: .utf8)
  try body(path)
}

@Suite(.serialized) struct AdvisorTests {
  @Test func everyMethodHasAPlanAReasonAndACommand() throws {
    let advice = try advice(homeControl)
    let names = advice.methods.map(\.candidate.name)
    #expect(names.contains("lora") && names.contains("ia3") && names.contains("prefix_tuning"))
    #expect(Set(names).count == names.count)
    for method in advice.methods {
      #expect(method.plan.trainableParameters > 0 && method.fileBytes > 0)
      #expect(method.seconds > 0 && method.tokensPerSecond > 0 && method.fits)
      #expect(!method.reason.isEmpty && !method.reason.contains("\n"))
      #expect(method.command.hasPrefix("edge-lora train --model "))
      #expect(method.command.contains("--method \(method.candidate.method)"))
    }
  }

  @Test func betterFiguresStandBeforeWorseOnes() throws {
    let scores = try advice(homeControl).methods.map { $0.figure?.score ?? 0 }
    #expect(zip(scores, scores.dropFirst()).allSatisfy { $0 > $1 - 0.021 })
    #expect(scores.first == scores.max() || (scores.first ?? 0) > (scores.max() ?? 1) - 0.021)
  }

  @Test func itsJSONHasWhatTheTableHas() throws {
    let advice = try advice(homeControl)
    let methods = try #require(advice.json["methods"]?.arrayValue)
    #expect(methods.count == advice.methods.count)
    for (json, method) in zip(methods, advice.methods) {
      #expect(json["method"]?.stringValue == method.candidate.method)
      #expect(json["trainable_parameters"]?.intValue == method.plan.trainableParameters)
      #expect(json["predicted_peak_bytes"]?.intValue == method.plan.predictedPeakBytes)
      #expect(json["command"]?.stringValue == method.command)
    }
    #expect(advice.text.contains("train with the first:"))
  }

  @Test func stepsAreTriedUnlessThatIsNotWanted() throws {
    let given: [String: [String]] = ["max-length": ["64"], "threads": ["1"], "max-mem": ["4G"]]
    let advice = try Advisor(given: given, modelDirectory: tinyLlama, files: [homeControl], observer: Silence())
      .advise()
    #expect(!advice.methods.isEmpty)
    for method in advice.methods {
      #expect(method.isTried && method.seconds > 0 && method.plan.predictedPeakBytes <= 4 << 30)
      #expect(method.command.contains("--max-mem 4G"))
    }
  }

  @Test func aBudgetThatNothingFitsIsRefused() throws {
    #expect(throws: PlanError.self) { try advice(homeControl, ["max-mem": ["8M"]]) }
  }

  @Test func aShortTimeMeansFewerPassesOrNone() throws {
    let hurried = try advice(homeControl, ["time": ["2s"], "epochs": ["100000"]])
    for method in hurried.methods {
      #expect(method.seconds < 30)
      #expect(method.epochs.map { $0 < 100_000 } ?? true)
      #expect(method.fits == method.command.contains("--epochs"))
      #expect(method.fits != method.command.contains("--max-steps"))
    }
  }

  @Test func standardInputIsRefused() throws {
    #expect(throws: OptionError.self) { try advice("-") }
  }

  @Test func sizesAreComparable() throws {
    let methods = try advice(homeControl).methods
    let target = try #require(methods.first { $0.candidate.name == "lora" }).plan.trainableParameters
    for name in ["bottleneck, seq_bn", "bottleneck, par_bn", "prefix_tuning"] {
      let count = try #require(methods.first { $0.candidate.name == name }).plan.trainableParameters
      #expect(Double(count) > 0.5 * Double(target) && Double(count) < 2 * Double(target), "\(name): \(count)")
    }
  }
}

struct DataReportTests {
  @Test func questionsAreLookedAt() throws {
    let rows = [
      ("how many legs has a cat", "It has four legs."), ("how many legs has a cat", "It has four legs."),
      ("how many legs has a cat", "It has five legs."), ("where do fish live", "They live in the"),
      ("who are you", "I am a program."), ("what is red", "A tomato is red."), ("what is blue", "The sky is blue."),
      ("what is green", String(repeating: "Grass is green. ", count: 40)),
    ]
    let text = rows.map { "{\"prompt\": \"\($0.0)\", \"completion\": \"\($0.1)\"}" }.joined(separator: "\n")
    try withFile("train.jsonl", text) { path in
      let report = try advice(path).data
      #expect(report.kind == .answers && report.samples == 8)
      #expect(report.duplicates == 1 && report.contradictions == 1 && report.openAnswers == 1)
      #expect(report.cutSamples == 1 && report.longest > 64)
      #expect(report.scripts.map(\.name) == ["Latin"])
      #expect(report.findings.contains { $0.contains("--max-length") })
    }
  }

  @Test func labelsAreCounted() throws {
    let report = try advice(intents).data
    #expect(report.kind == .texts && report.samples == report.labels.reduce(0) { $0 + $1.count })
    #expect(report.labels.count == 12)
  }

  @Test func unevenLabelsAreTold() throws {
    let rows = (0..<60).map { "{\"text\": \"room \($0)\", \"label\": \"\($0 == 7 ? "cold" : "warm")\"}" }
    try withFile("train.jsonl", rows.joined(separator: "\n")) { path in
      let report = try advice(path).data
      #expect(report.labels.map(\.name) == ["warm", "cold"])
      #expect(report.findings.contains { $0.contains("--class-weights balanced") })
    }
  }

  @Test func aPlainTextIsForLongAnswers() throws {
    try withFile("train.txt", String(repeating: "The light in the hall is on. ", count: 60)) { path in
      let report = try advice(path).data
      #expect(report.kind == .reasoning && report.duplicates == 0 && report.cutSamples == 0)
    }
  }

  @Test func scriptsAreToldApart() {
    var counter = ScriptCounter()
    counter.add("abc где 漢字漢字漢字 1234 !?")
    let shares = counter.shares
    #expect(shares.map(\.name) == ["Han", "Cyrillic", "Latin"])
    #expect(shares.first?.share == 0.5)
  }
}

struct AdviceOptionsTests {
  @Test(arguments: [("90s", 90.0), ("30m", 1800), ("30min", 1800), ("2h", 7200), ("1d", 86400), ("1.5", 90)])
  func timesHaveUnits(text: String, seconds: Double) throws {
    #expect(try AdviceOptions(["time": [text]]).seconds == seconds)
  }

  @Test(arguments: ["", "h", "-1h", "0", "nan", "2 weeks", "1e99"])
  func otherTimesAreRefused(text: String) {
    #expect(throws: OptionError.self) { try AdviceOptions(["time": [text]]) }
  }

  @Test func numbersAreTextInEveryLocale() {
    #expect(Decimals.text(1.005, 1) == "1.0" && Decimals.text(-0.04, 1) == "0.0" && Decimals.text(12.345, 2) == "12.35")
    #expect(
      Decimals.grouped(1_234_567) == "1,234,567" && Decimals.grouped(12) == "12" && Decimals.grouped(-123) == "-123")
    #expect(
      Decimals.duration(59.6) == "60 s" && Decimals.duration(90) == "1.5 min" && Decimals.duration(7260) == "2 h 1 min")
  }

  /// Other methods are planned nevertheless.
  @Test func aMethodThatTheModelHasNoRoomForIsRefusedAlone() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("short-\(UUID().uuidString)").path
    try FileManager.default.copyItem(atPath: tinyLlama, toPath: folder)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let config = try String(contentsOfFile: "\(folder)/config.json", encoding: .utf8)
    #expect(config.contains("\"max_position_embeddings\": 512"))
    try config.replacingOccurrences(of: "\"max_position_embeddings\": 512", with: "\"max_position_embeddings\": 64")
      .write(toFile: "\(folder)/config.json", atomically: true, encoding: .utf8)
    let given: [String: [String]] = ["max-length": ["32"], "threads": ["1"], "no-trial": []]
    let advisor = try Advisor(given: given, modelDirectory: folder, files: [homeControl], observer: Silence())
    let advice = try advisor.advise()
    #expect(advice.refused.map(\.name).contains("prompt_tuning"))
    #expect(advice.methods.map(\.candidate.name).contains("lora"))
  }

  @Test func aTerminalHasRoomForIt() throws {
    for file in [homeControl, intents] {
      let lines = try advice(file).text.split(separator: "\n")
      for line in lines where !line.hasPrefix("  edge-lora train") { #expect(line.count <= 80, "\(line)") }
    }
  }
}
