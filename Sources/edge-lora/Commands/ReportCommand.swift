import Formats
import Memory
import Options
import Reporting

let reportCommand = Command(
  name: "report", summary: "show runs as a page for the browser, as CSV or for TensorBoard", positional: ["DIR..."],
  options: [
    .init(
      "output", "FILE", aliases: ["o"],
      "the page (also -o; default: report.html, unless --csv or --tensorboard is given)"),
    .init("csv", "FILE", "the figures as a table, a row per step; - for standard output"),
    .init("tensorboard", "DIR", "event files for TensorBoard; each of several runs gets a folder in it"),
    .init("force", nil, "replace an output that exists"),
  ]
) { arguments in
  let folders = arguments.positional.isEmpty ? ["adapter"] : arguments.positional
  let force = arguments.flag("force")
  let (csv, events) = (arguments.text("csv"), arguments.text("tensorboard"))

  func write(_ text: String, to path: String, kind: String, _ isOne: (String) -> Bool) throws {
    let output = try AtomicOutput(path: path, force: force || Report.isOne(path))
    try output.requireFile(kind: kind, isOne)
    try OutputFile.write(text, to: output.temporaryPath)
    try output.commit()
    if csv != "-" { Console.print("wrote \(path): \(ByteCount.text(text.utf8.count))") }
  }

  var runs = try folders.map { try RunRecord(folder: $0) }
  RunRecord.tellApart(&runs)
  for warning in runs.flatMap(\.warnings) { Console.error("warning: \(warning)") }
  let isAsked = csv != nil || events != nil
  if let csv {
    let text = MetricsTable.csv(runs)
    if csv == "-" {
      Console.printPart(text)
    } else {
      try write(text, to: csv, kind: "table of a report", MetricsTable.isOne)
    }
  }
  if let events {
    for run in runs {
      let folder = runs.count > 1 ? "\(events)/\(run.name)" : events
      try EventExport.write(run, to: folder)
    }
    if csv != "-" { Console.print("wrote \(events): tensorboard --logdir \(ShellWord.quoted(events))") }
  }
  if let page = arguments.text("output") ?? (isAsked ? nil : "report.html") {
    try write(Report(runs, program: "edge-lora \(Program.version)").html, to: page, kind: "HTML", Report.isPage)
  }
  return ExitCode.success
}
