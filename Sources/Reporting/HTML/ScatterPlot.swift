import Glibc

/// A picture of points, drawn without a script.
struct ScatterPlot {
  struct Point {
    let x: Double
    let y: Double
    /// What is told where the pointer rests.
    let text: String
    /// Filled and joined by a line.
    var isOnFront = false
    var isBest = false
  }

  let title: String
  let xName: String
  let yName: String
  var points: [Point]
  /// Words below the axis, at their places; numbers if `nil`.
  var words: [(x: Double, word: String)]?
  var isLogarithmic = false

  private static let size = (width: 400.0, height: 250.0)
  private static let margin = (left: 64.0, right: 14.0, top: 10.0, bottom: 42.0)

  /// A range with a little room, also around a single value.
  private static func range(_ values: [Double]) -> (low: Double, high: Double) {
    guard let low = values.min(), let high = values.max() else { return (0, 1) }
    let room = high > low ? 0.06 * (high - low) : max(abs(low) * 0.05, 0.5)
    return (low - room, high + room)
  }

  private func scaled(_ x: Double) -> Double { isLogarithmic ? log10(max(x, 1)) : x }

  var html: String {
    let (size, margin) = (Self.size, Self.margin)
    let (x, y) = (Self.range(points.map { scaled($0.x) }), Self.range(points.map(\.y)))
    func place(_ point: Point) -> (x: Double, y: Double) {
      (horizontal(scaled(point.x)), vertical(point.y))
    }
    func horizontal(_ value: Double) -> Double {
      margin.left + (size.width - margin.left - margin.right) * (value - x.low) / (x.high - x.low)
    }
    func vertical(_ value: Double) -> Double {
      size.height - margin.bottom - (size.height - margin.top - margin.bottom) * (value - y.low) / (y.high - y.low)
    }
    func number(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }
    let bottom = size.height - margin.bottom
    var parts: [String] = []
    for tick in Self.ticks(y) {
      let height = number(vertical(tick))
      parts.append(
        "<line x1=\"\(number(margin.left))\" x2=\"\(number(size.width - margin.right))\" y1=\"\(height)\" y2=\"\(height)\" "
          + "stroke=\"var(--grid)\"/><text x=\"\(number(margin.left - 6))\" y=\"\(height)\" dy=\"4\" "
          + "text-anchor=\"end\">\(HTMLText.short(tick))</text>")
    }
    let marks =
      words?.map { (scaled($0.x), HTMLText.escaped(HTMLText.shortened($0.word, 14))) }
      ?? Self.ticks(x).map { ($0, HTMLText.short(isLogarithmic ? pow(10, $0) : $0)) }
    for (tick, word) in marks {
      parts.append(
        "<text x=\"\(number(horizontal(tick)))\" y=\"\(number(bottom + 16))\" text-anchor=\"middle\">\(word)</text>")
    }
    parts.append(
      "<text x=\"\(number((margin.left + size.width) / 2))\" y=\"\(number(size.height - 8))\" "
        + "text-anchor=\"middle\">\(HTMLText.escaped(xName))</text>")
    let front = points.filter(\.isOnFront).map(place).sorted { $0.x < $1.x }
    if front.count > 1 {
      let line = front.map { "\(number($0.x)),\(number($0.y))" }.joined(separator: " ")
      parts.append("<polyline points=\"\(line)\" fill=\"none\" stroke=\"var(--c1)\" stroke-dasharray=\"4 3\"/>")
    }
    for point in points {
      let (x, y) = place(point)
      let colour = point.isOnFront ? "var(--c1)" : "var(--c0)"
      parts.append(
        "<circle cx=\"\(number(x))\" cy=\"\(number(y))\" r=\"\(point.isBest ? 6 : 4)\" stroke=\"\(colour)\" "
          + "fill=\"\(point.isOnFront || point.isBest ? colour : "none")\"><title>\(HTMLText.escaped(point.text))"
          + "</title></circle>")
    }
    return "<figure><figcaption><h3>\(HTMLText.escaped(title))</h3></figcaption>"
      + "<svg viewBox=\"0 0 \(number(size.width)) \(number(size.height))\" role=\"img\" "
      + "aria-label=\"\(HTMLText.escaped("\(yName) by \(xName)"))\">\(parts.joined(separator: "\n"))</svg></figure>"
  }

  /// About four round numbers inside a range.
  static func ticks(_ range: (low: Double, high: Double)) -> [Double] {
    let width = range.high - range.low
    guard width > 0, width.isFinite else { return [] }
    let rough = width / 4
    let power = pow(10, floor(log10(rough)))
    let step = power * ([1.0, 2, 5, 10].first { $0 * power >= rough } ?? 10)
    var ticks: [Double] = []
    var tick = (range.low / step).rounded(.up) * step
    while tick <= range.high, ticks.count < 12 {
      ticks.append((tick / step).rounded() * step)
      tick += step
    }
    return ticks
  }
}
