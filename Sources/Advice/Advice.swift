import Formats
import Memory
import Options
import Planning

/// What `advise` answers.
public struct Advice: Sendable {
  /// Of a task under a budget: the best method, its figure, and how fast it is here.
  public struct Cell: Sendable {
    public let method: String
    public let figure: MeasuredFigure
    public let tokensPerSecond: Double
  }

  public let data: DataReport
  /// The model in a line.
  public let model: String
  public let speed: MachineSpeed
  public let availableBytes: Int?
  /// The best one first.
  public let methods: [MethodAdvice]
  /// Methods that this model does not take, with the reason.
  public let refused: [(name: String, reason: String)]
  /// Budgets of the matrix, in bytes.
  public let budgets: [Int]
  /// By task and budget; `nil` where no method fits.
  public let matrix: [(task: TaskKind, cells: [Cell?])]

  public var json: JSONValue {
    let rows = matrix.map { row -> JSONValue in
      let cells = row.cells.map { cell -> JSONValue in
        guard let cell else { return .null }
        return .object(
          JSONObject([
            ("method", .string(cell.method)), ("data", .string(cell.figure.data)),
            ("figure", .string(cell.figure.figure.rawValue)), ("value", .number(cell.figure.quality)),
            ("predicted_tokens_per_second", .number(cell.tokensPerSecond)),
          ]))
      }
      return .object(JSONObject([("task", .string(row.task.rawValue)), ("cells", .array(cells))]))
    }
    return .object(
      JSONObject([
        ("data", data.json), ("model", .string(model)),
        (
          "machine",
          .object(
            JSONObject([
              ("available_bytes", availableBytes.map { .integer($0) } ?? .null),
              ("product_multiply_adds_per_second", .number(speed.products)),
              ("float_multiply_adds_per_second", .number(speed.floats)),
              ("read_bytes_per_second", .number(speed.read)),
            ]))
        ),
        ("methods", .array(methods.map(\.json))),
        (
          "refused",
          .array(
            refused.map { .object(JSONObject([("name", .string($0.name)), ("reason", .string($0.reason))])) })
        ),
        (
          "matrix",
          .object(JSONObject([("budgets", .array(budgets.map { .integer($0) })), ("rows", .array(rows))]))
        ),
      ]))
  }

  // MARK: Text

  public var text: String {
    var lines = [data.text, "model: \(model)"]
    let free = availableBytes.map { "\(ByteCount.text($0)) to be had, " } ?? ""
    lines.append("machine: \(free)\(Decimals.text(speed.products / 1e9, 0)) G multiply-adds/s")
    lines.append("")
    lines += Self.table(
      [["", "method", "parameters", "peak", "time", "tokens/s"]]
        + methods.enumerated().map { Self.cells($0 + 1, $1) }, left: [1])
    lines.append("")
    for (place, method) in methods.enumerated() {
      lines.append(
        Self.wrapped(
          "\(place + 1). \(method.candidate.name): \(method.reason)" + (method.source.map { " [\($0)]" } ?? "")
            + "; file \(ByteCount.text(method.fileBytes)), when used \(method.inference.text)"))
    }
    lines += refused.map { Self.wrapped("not \($0.name): \($0.reason)") }
    if !matrix.isEmpty {
      lines.append("\nwhich method for which task and budget, measured there, and tokens/s here:")
      let rows = matrix.flatMap { row in
        zip(budgets, row.cells).enumerated().map { place, pair -> [String] in
          let (budget, cell) = pair
          return [place == 0 ? row.task.text : "", "\(budget >> 20)M"]
            + (cell.map { [$0.method, $0.figure.text, "\(Int($0.tokensPerSecond))"] } ?? ["-"])
        }
      }
      lines += Self.table([["task", "budget", "method", "measured", "tokens/s"]] + rows, left: [0, 2, 3])
    }
    if let first = methods.first { lines.append("\ntrain with the first:\n  \(first.command)") }
    return lines.joined(separator: "\n")
  }

  private static func cells(_ place: Int, _ method: MethodAdvice) -> [String] {
    let time = Decimals.duration(method.seconds)
    let part = method.epochs.map { "\(Decimals.plain($0)) x" } ?? "\(method.steps) steps"
    return [
      "\(place)", method.candidate.name, Decimals.grouped(method.plan.trainableParameters),
      ByteCount.text(method.plan.predictedPeakBytes), "\(time) (\(part))", "\(Int(method.tokensPerSecond))",
    ]
  }

  /// A line of a list.
  private static func wrapped(_ line: String) -> String { TerminalText.wrapped(line, indent: 4) }

  /// Columns as wide as their longest word, set to the right but for those in `left`.
  private static func table(_ rows: [[String]], left: Set<Int>) -> [String] {
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0 }
    return rows.map { row in
      let cells = row.enumerated().map { column, word -> String in
        let padding = String(repeating: " ", count: widths[column] - word.count)
        return left.contains(column) ? word + padding : padding + word
      }
      var line = " " + cells.joined(separator: " ")
      while line.hasSuffix(" ") { line.removeLast() }
      return line
    }
  }
}
