import Formats
import Memory
import Training

/// Shows a training run: a bar on a terminal, plain lines with the time elsewhere.
final class TrainingConsole: TrainingObserver {
  private let logSteps: Int
  /// The end of the first step, from which the remaining time is reckoned: what came before was reading and planning.
  private var first: (step: Int, time: Double)?
  /// What evaluations took, which is no time of steps.
  private var evaluating = 0.0
  private var evaluationStart: Double?

  init(logSteps: Int) { self.logSteps = logSteps }

  func note(_ line: String) { log(line) }

  private func log(_ line: String) {
    Console.error(Console.isTerminal ? line : "\(Console.timeStamp)  \(line)")
  }

  func reading(_ done: Int, of all: Int) {
    Console.progress(done: done >> 20, of: max(1, all >> 20), "MiB of the data read")
  }

  func stepped(_ report: StepReport, of steps: Int, machine: MachineState) {
    let now = Console.uptime
    let first = self.first ?? (report.step, now)
    self.first = first
    let done = report.step - first.step
    let perStep = done > 0 ? max(0, now - first.time - evaluating) / Double(done) : report.seconds
    let left = Console.clock(perStep * Double(steps - report.step))
    let memory =
      ByteCount.text(machine.residentBytes) + (machine.budget.map { " of " + ByteCount.text($0) } ?? "")
    let heat =
      (machine.celsius.map { "  \(Int($0.rounded())) °C" } ?? "") + (machine.isThrottled ? "  throttled" : "")
    let text =
      "\(left) left  loss \(Console.decimal(report.loss, 4))  \(Int(report.tokensPerSecond)) tokens/s  \(memory)\(heat)"
    if Console.isTerminal {
      Console.progress(done: report.step, of: steps, text)
    } else if report.step % logSteps == 0 || report.step == steps {
      log("step \(report.step)/\(steps)  \(text)")
    }
  }

  func evaluating(_ done: Int, of all: Int) {
    if evaluationStart == nil { evaluationStart = Console.uptime }
    Console.progress(done: done, of: all, "batches of the evaluation")
  }

  func sampling(_ done: Int, of all: Int) {
    if evaluationStart == nil { evaluationStart = Console.uptime }
    Console.progress(done: done, of: all, "sample prompts")
  }

  func sampled(step: Int, answers: [SampleAnswer]) {
    endEvaluation()
    for answer in answers {
      log("step \(step)  prompt: \(Self.line(answer.prompt, most: 200))")
      Console.error("  answer: \(Self.line(answer.answer, most: 400))\(answer.isCut ? " [cut]" : "")")
    }
  }

  /// A text on one line, without its end where it is long.
  private static func line(_ text: String, most: Int) -> String {
    let flat = text.split(whereSeparator: \.isNewline).joined(separator: " / ")
    return flat.count > most ? flat.prefix(most) + "…" : flat
  }

  private func endEvaluation() {
    if let start = evaluationStart, first != nil { evaluating += Console.uptime - start }
    evaluationStart = nil
  }

  func evaluated(step: Int, figures: JSONObject, isBest: Bool) {
    endEvaluation()
    let shown = figures.entries.compactMap { name, value -> String? in
      guard let number = value.doubleValue, name.hasPrefix("eval_") else { return nil }
      return "\(name.dropFirst("eval_".count)) \(Console.decimal(number, name == "eval_perplexity" ? 2 : 4))"
    }
    log("step \(step)  evaluation: \(shown.joined(separator: "  "))\(isBest ? "  (best)" : "")")
  }
}
