import Formats

/// A picture of figures over steps, which the page's script draws.
struct Chart {
  enum Unit: String {
    case number, bytes, share, celsius, joules, seconds, rate
  }

  enum Style: String {
    case line, faint, dots, dash
  }

  struct Line {
    let name: String
    /// Place of its colour in the palette.
    let colour: Int
    var style = Style.line
    var points: [Thinning.Point]
    /// Whether extremes matter: else the points that are kept lie evenly.
    var isRough = true
  }

  /// A height that does not change.
  struct Mark {
    let name: String
    let value: Double
  }

  let title: String
  var note = ""
  var unit = Unit.number
  var lines: [Line] = []
  var marks: [Mark] = []
  /// Stretches of steps that are shaded.
  var bands: [ClosedRange<Double>] = []
  /// Whether the lines are parts of a whole, all with the same steps.
  var isStack = false
  var startsAtZero = false
  /// Whether a logarithmic height is offered.
  var hasLogarithm = false
  var isWide = false

  /// For the script.
  ///
  /// - Parameter most: points of a line
  func json(most: Int) -> JSONValue {
    let lines = isStack ? stacked(most) : self.lines.map { thin($0, most) }
    return .object(
      JSONObject([
        ("title", .string(title)), ("note", .string(note)), ("unit", .string(unit.rawValue)),
        ("stack", .bool(isStack)), ("zero", .bool(startsAtZero)), ("log", .bool(hasLogarithm)), ("wide", .bool(isWide)),
        (
          "marks",
          .array(
            marks.map {
              .object(JSONObject([("name", .string($0.name)), ("y", .number(Thinning.rounded($0.value)))]))
            })
        ),
        ("bands", .array(bands.map { .array([.number($0.lowerBound), .number($0.upperBound)]) })),
        ("lines", .array(lines.map(Self.json))),
      ]))
  }

  private func thin(_ line: Line, _ most: Int) -> Line {
    var line = line
    line.points =
      line.isRough ? Thinning.extremes(line.points, most: most) : Thinning.evenly(line.points, most: most)
    return line
  }

  /// Of parts of a whole, the steps where the whole is greatest.
  private func stacked(_ most: Int) -> [Line] {
    guard let count = lines.map(\.points.count).min(), count > 0 else { return [] }
    let places = Thinning.peaks(count, most: most) { place in lines.reduce(0) { $0 + $1.points[place].value } }
    return lines.map { line in
      var line = line
      line.points = places.map { line.points[$0] }
      return line
    }
  }

  private static func json(_ line: Line) -> JSONValue {
    .object(
      JSONObject([
        ("name", .string(line.name)), ("colour", .integer(line.colour)), ("style", .string(line.style.rawValue)),
        ("x", .array(line.points.map { .integer(Int($0.step)) })),
        ("y", .array(line.points.map { number(Thinning.rounded($0.value)) })),
      ]))
  }

  /// Without a point where it is whole.
  private static func number(_ value: Double) -> JSONValue {
    value == value.rounded() && abs(value) < 1e15 ? .integer(Int(value)) : .number(value)
  }
}
