/// How far the stored weights of one kind of tensor are from the originals.
public struct QuantizationReport: Sendable {
  public struct Line: Sendable {
    /// `q_proj`, `embed_tokens`, ...
    public let kind: String
    public let format: String
    public var tensors = 0
    public var elements = 0
    public var byteCount = 0
    /// Relative L2 error, summed over the tensors, and of the worst of them.
    var errorSum = 0.0
    public var worstError = 0.0
    public var meanError: Double { errorSum / Double(max(tensors, 1)) }
    public var bitsPerWeight: Double { Double(byteCount) * 8 / Double(max(elements, 1)) }
  }

  public internal(set) var lines: [Line] = []
  public var byteCount: Int { lines.reduce(0) { $0 + $1.byteCount } }

  mutating func add(kind: String, format: String, elements: Int, byteCount: Int, error: Double) {
    let place = lines.firstIndex { $0.kind == kind } ?? lines.count
    if place == lines.count { lines.append(Line(kind: kind, format: format)) }
    lines[place].tensors += 1
    lines[place].elements += elements
    lines[place].byteCount += byteCount
    lines[place].errorSum += error
    lines[place].worstError = max(lines[place].worstError, error)
  }
}
