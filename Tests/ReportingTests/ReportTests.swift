import Formats
import Foundation
import Reporting
import Testing

@Suite struct ReportTests {
  private static let step =
    #"{"step": 1, "loss": 2.5, "learning_rate": 0.1, "grad_norm": 1, "tokens_per_second": 10, "rss_bytes": 100, "#
    + #""memory": {"weights": 60, "process": 40}, "storage_bytes_read": null}"#

  private func run(_ lines: [String], _ folder: ScratchFolder, named name: String = "metrics.jsonl") throws -> RunRecord
  {
    try folder.write(lines.map { $0 + "\n" }.joined(), to: name)
    return try RunRecord(folder: folder.path)
  }

  @Test func aFolderWithoutStepsIsRefused() throws {
    let folder = try ScratchFolder()
    #expect(throws: RunRecord.NotARun.self) { try RunRecord(folder: folder.path) }
    #expect(throws: RunRecord.NotARun.self) { try RunRecord(folder: folder.path + "/nothing") }
    #expect(throws: (any Error).self) { try run([], folder) }
    #expect(throws: (any Error).self) { try run(["{}", "x"], folder) }
  }

  @Test func damagedLinesAndFilesArePassedOver() throws {
    let folder = try ScratchFolder()
    try folder.write("{", to: "summary.json")
    let record = try run(
      [Self.step, "not json", #"{"step": -4, "loss": 1}"#, #"{"step": 2, "loss": 2}"#, #"{"step": 2, "loss": 3}"#],
      folder)
    #expect(record.steps.compactMap { $0["loss"]?.doubleValue } == [2.5, 3])
    #expect(record.damagedLines == 2)
    #expect(record.warnings.count == 2)
    #expect(record.summary == nil)
  }

  @Test func numbersThatCannotBeAreNoReasonToEnd() throws {
    let folder = try ScratchFolder()
    try folder.write(
      #"{"completed": true, "steps": 9, "measured_peak_bytes": 1e300, "plan": {"budget_bytes": -1, "bytes": {"weights": "#
        + #"9223372036854775807, "head": 9223372036854775807}, "x_bytes": 1e308}}"#, to: "summary.json")
    let record = try run(
      [
        #"{"step": 9000000000000000, "loss": 1e308, "grad_norm": -1e308, "rss_bytes": 1e300, "memory": {"weights": 1e300},"#
          + #" "storage_bytes_read": 1e308, "seconds": 1e308, "temperature_celsius": 1e-308, "energy_joules": 1e308}"#,
        #"{"step": 9000000000000001, "eval_loss": 1e308, "eval_confusion_matrix": [[1, "x"], [null, 2]], "samples": 3}"#,
        #"{"step": 9000000000000001, "eval_loss": 1, "eval_confusion_matrix": [[1], [2, 3]], "eval_labels": [1]}"#,
        #"{"step": 9223372036854775807, "loss": 1}"#,
      ], folder)
    #expect(record.damagedLines == 1)
    #expect(Report([record], program: "test").html.contains("</html>"))
    #expect(!MetricsTable.csv([record]).isEmpty)
  }

  @Test func textsOfARunNeverBecomeMarkup() throws {
    let folder = try ScratchFolder()
    let evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    let json = JSONValue.string(evil).serialized()
    try folder.write(#"{"options": {"data": [\#(json)], \#(json): [\#(json)]}}"#, to: "run.json")
    try folder.write(#"{"base_model_name_or_path": \#(json), "peft_type": \#(json)}"#, to: "adapter_config.json")
    var record = try run(
      [
        #"{"step": 1, "loss": 2, \#(json): 3}"#,
        #"{"step": 1, "eval_loss": 2, "eval_\#(json.dropFirst()): 1, "eval_labels": {\#(json): {"f1": 1}}, "samples": "#
          + #"[\#(json), {\#(json): \#(json)}], "eval_confusion_matrix": [[1]]}"#,
      ], folder)
    record.name = evil
    for page in [Report([record], program: evil).html, Report([record, record], program: evil).html] {
      #expect(!page.contains("<script>alert"))
      #expect(!page.contains("<img"))
      #expect(page.components(separatedBy: "<script").count == 3)
      #expect(page.components(separatedBy: "</script").count == 3)
    }
  }

  @Test func aPageHasTheFiguresAndNothingFromOutside() throws {
    let folder = try ScratchFolder()
    try folder.write(#"{"completed": true, "steps": 2, "plan": {"budget_bytes": 1048576}}"#, to: "summary.json")
    let record = try run(
      [Self.step, #"{"step": 2, "loss": 1.25}"#, #"{"step": 2, "eval_loss": 1.5, "eval_accuracy": 0.75}"#], folder)
    let page = Report([record], program: "edge-lora").html
    for text in ["1.2500", "finished", "0.7500", "budget 1.0 MiB"] { #expect(page.contains(text), "\(text)") }
    for text in ["src=", "@import", "http://w", "https://"] {
      #expect(!page.contains(text) || text == "http://w", "\(text)")
    }
    try folder.write(page, to: "page.html")
    #expect(Report.isOne("\(folder.path)/page.html"))
    #expect(!Report.isOne("\(folder.path)/metrics.jsonl"))
  }

  @Test func aLongRunStaysSmallAndKeepsItsExtremes() throws {
    let folder = try ScratchFolder()
    let lines = (1...20_000).map { step in
      let loss = step == 12_345 ? 77.5 : 2 + Double(step % 7) / 100
      return #"{"step": \#(step), "loss": \#(loss), "learning_rate": 0.001, "grad_norm": \#(step % 11), "#
        + #""tokens_per_second": \#(step % 13), "memory": {"weights": \#(step), "process": 5}}"#
    }
    let page = Report([try run(lines, folder)], program: "test").html
    #expect(page.utf8.count < 500_000)
    #expect(page.contains("77.5"))
    #expect(page.contains("12345"))
  }

  @Test func extremesStayAndPointsKeepTheirOrder() {
    var points: [Thinning.Point] = (0..<1000).map { (Double($0), Double($0 % 3)) }
    points[500].value = 9
    points[501].value = -9
    let kept = Thinning.extremes(points, most: 50)
    #expect(kept.count <= 50)
    #expect(kept.first?.step == 0 && kept.last?.step == 999)
    #expect(kept.map(\.value).max() == 9 && kept.map(\.value).min() == -9)
    #expect(zip(kept, kept.dropFirst()).allSatisfy { $0.step < $1.step })
    #expect(Thinning.extremes(Array(points.prefix(10)), most: 50).count == 10)
    #expect(Thinning.peaks(1000, most: 20) { $0 == 777 ? 1 : 0 }.contains(777))
    #expect(Thinning.rounded(0.000123456) == 0.00012346)
    #expect(Thinning.rounded(123_456_789) == 123_460_000)
    #expect(Thinning.rounded(0.1) == 0.1)
  }

  @Test func aSmoothedConstantIsThatConstant() {
    let points: [Thinning.Point] = (0..<100).map { (Double($0), 3) }
    #expect(Thinning.smoothed(points, window: 10).allSatisfy { abs($0.value - 3) < 1e-12 })
  }

  @Test func energyGoesOnWhereARunWasResumed() throws {
    let folder = try ScratchFolder()
    let record = try run(
      [10, 20, 5, 9].enumerated().map { #"{"step": \#($0 + 1), "loss": 1, "energy_joules": \#($1)}"# }, folder)
    #expect(EnergyFigures(run: record).sums.map(\.value) == [10, 20, 25, 29])
  }

  @Test func aTableHasARowForEachStep() throws {
    let folder = try ScratchFolder()
    let record = try run(
      [Self.step, #"{"step": 1, "eval_loss": 0.1, "seconds": 4, "note": "a, \"b\""}"#, #"{"step": 2, "loss": 1e-7}"#],
      folder)
    let rows = MetricsTable.csv([record]).components(separatedBy: "\r\n")
    #expect(
      rows[0]
        == "step,loss,learning_rate,grad_norm,tokens_per_second,rss_bytes,memory.weights,memory.process,eval_loss,"
        + "eval_seconds,eval_note")
    #expect(rows[1] == #"1,2.5,0.1,1,10,100,60,40,0.1,4,"a, ""b""""#)
    #expect(rows[2] == "2,1e-07,,,,,,,,,")
    #expect(rows.count == 4)
  }

  @Test func runsOfOneNameAreToldApart() throws {
    let (one, other) = (try ScratchFolder(), try ScratchFolder())
    var runs = try [run([Self.step], one), run([Self.step], one), run([Self.step], other)]
    RunRecord.tellApart(&runs)
    #expect(Set(runs.map(\.name)).count == 3)
    #expect(MetricsTable.csv(runs).hasPrefix("run,step,"))
  }

  @Test func anExportHasEveryFigureOnce() throws {
    let folder = try ScratchFolder()
    let record = try run([Self.step, #"{"step": 1, "eval_loss": 2}"#, #"{"step": 2, "loss": 1}"#], folder)
    for _ in 0..<2 { try EventExport.write(record, to: folder.path + "/events") }
    let names = try FileManager.default.contentsOfDirectory(atPath: folder.path + "/events")
    #expect(names.count == 1)
    let bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: "\(folder.path)/events/\(names[0])")))
    let steps = bytes.withUnsafeBytes { EventRecord.contents(of: $0) }.compactMap(Event.stepOfScalars)
    #expect(steps == [1, 1, 2])
  }
}

/// A run that ends reads its own records inside its memory budget, however many there are.
@Test func ofManyStepsOnlyTheFirstAndTheLastNeedStay() throws {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("steps-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  let lines = (1...5000).map { "{\"step\": \($0), \"loss\": \(1000.0 / Double($0))}" }
  try lines.joined(separator: "\n").write(
    to: folder.appendingPathComponent("metrics.jsonl"), atomically: true, encoding: .utf8)
  let whole = try RunRecord(folder: folder.path)
  let few = try RunRecord(folder: folder.path, keepsSteps: false)
  #expect(whole.steps.count == 5000 && few.steps.count <= 129)
  #expect(few.stepCount == 5000 && few.lastLoss == whole.lastLoss)
  #expect(few.steps.first == whole.steps.first && few.steps.suffix(64) == whole.steps.suffix(64))
}
