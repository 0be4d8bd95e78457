import Formats
import Glibc

/// Event files of runs that have written none themselves.
public enum EventExport {
  /// Writes a run's figures into a folder; what an earlier export has left there goes.
  ///
  /// The times are those of the steps where these are known, counted back from the last one, which was when `metrics.jsonl`
  /// was last written.
  public static func write(_ run: RunRecord, to folder: String) throws {
    let lines = (run.steps + run.evaluations).enumerated().sorted { left, right in
      let (a, b) = (left.element["step"]?.intValue ?? 0, right.element["step"]?.intValue ?? 0)
      return a != b ? a < b : left.offset < right.offset
    }.map(\.element)
    let durations = lines.map { line in
      line["eval_loss"] == nil ? max(0, line["seconds"]?.doubleValue ?? 0) : 0
    }
    var time = modified("\(run.folder)/\(RunRecord.metricsName)") - durations.reduce(0, +)
    let writer = try EventWriter(folder: folder, keepingSteps: 0, time: time, suffix: ".edge-lora-report")
    for (line, duration) in zip(lines, durations) {
      time += duration
      try writer.append(line: line, time: time)
    }
    try writer.synchronize()
  }

  /// Seconds since 1970.
  private static func modified(_ path: String) -> Double {
    var status = stat()
    guard stat(path, &status) == 0 else { return EventWriter.now() }
    return Double(status.st_mtim.tv_sec) + Double(status.st_mtim.tv_nsec) * 1e-9
  }
}
