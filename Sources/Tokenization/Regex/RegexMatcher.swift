/// Runs the program of a `RegexPattern`.
///
/// Places to come back to lie on a stack of its own, so that long texts cannot exhaust that of the thread.
final class RegexMatcher {
  /// A place to go on at: with one scalar less of a run if it has taken more than it needs.
  private struct Resumption {
    var instruction: Int
    var position: Int
    var least: Int
  }

  private let pattern: RegexPattern
  private let table = UnicodeTable.shared
  private var stack: [Resumption] = []
  private var steps = 0
  /// Steps after which the pattern is given up for a text: it does not describe words.
  private var mostSteps = stepsPerText
  /// What any text may take, and what each of its bytes may: some ten are usual.
  private static let stepsPerText = 5_000_000
  private static let stepsPerByte = 256
  /// Whether a match counts only if it takes the whole text.
  private var requiresEnd = false
  private var isGivenUp = false

  init(_ pattern: RegexPattern) { self.pattern = pattern }

  /// To be called before a new text, of which parts are searched one after another.
  func begin(byteCount: Int) {
    isGivenUp = false
    steps = 0
    mostSteps = Self.stepsPerText + Self.stepsPerByte * byteCount
  }

  /// The first match at or after `start` that is not empty; none any more once a match took too long to find.
  func firstMatch(_ text: Bytes, from start: Int) -> Range<Int>? {
    if let literal = pattern.literal { return Self.find(literal, in: text, from: start) }
    var position = start
    while position < text.count, !isGivenUp {
      if let end = run(text, position, instruction: 0, depth: 0), end > position { return position..<end }
      position += text.scalar(at: position).length
    }
    return nil
  }

  /// Whether the pattern can take the whole text; `nil` if finding that out takes too long.
  func matchesWhole(_ text: Bytes) -> Bool? {
    steps = 0
    mostSteps = 1_000_000
    requiresEnd = true
    defer { requiresEnd = false }
    let found = run(text, 0, instruction: 0, depth: 0) != nil
    return isGivenUp ? nil : found
  }

  static func find(_ literal: [UInt8], in text: Bytes, from start: Int) -> Range<Int>? {
    guard let first = literal.first else { return nil }
    var position = start
    while position + literal.count <= text.count {
      if text[position] == first, (1..<literal.count).allSatisfy({ text[position + $0] == literal[$0] }) {
        return position..<position + literal.count
      }
      position += 1
    }
    return nil
  }

  private func run(_ text: Bytes, _ start: Int, instruction first: Int, depth: Int) -> Int? {
    let base = stack.count
    defer { stack.removeLast(stack.count - base) }
    var instruction = first
    var position = start
    while true {
      steps += 1
      if steps > mostSteps { isGivenUp = true }
      if isGivenUp { return nil }
      var holds = true
      switch pattern.program[instruction] {
      case .set(let set):
        if position < text.count {
          let (scalar, length) = text.scalar(at: position)
          holds = pattern.sets[set].contains(scalar, table)
          position += length
          instruction += 1
        } else {
          holds = false
        }
      case .run(let set, let least, let most, let keeps):
        holds = take(text, set, least, most, keeps, &position, next: instruction + 1)
        instruction += 1
      case .split(let primary, let secondary):
        stack.append(Resumption(instruction: secondary, position: position, least: position))
        instruction = primary
      case .jump(let target): instruction = target
      case .look(let back, let negated, let end):
        var origin: Int? = position
        for _ in 0..<(back ?? 0) { origin = origin.flatMap { $0 > 0 ? text.scalarStart(before: $0) : nil } }
        let inside = instruction + 1
        let found = origin.map { run(text, $0, instruction: inside, depth: depth + 1) != nil } ?? false
        holds = found != negated
        instruction = end
      case .atomic(let end):
        if let after = run(text, position, instruction: instruction + 1, depth: depth + 1) {
          position = after
          instruction = end
        } else {
          holds = false
        }
      case .match:
        if !requiresEnd || depth > 0 || position == text.count { return position }
        holds = false
      case .lineStart:
        holds = position == 0 || text[position - 1] == 0x0A
        instruction += 1
      case .lineEnd:
        holds = position == text.count || text[position] == 0x0A
        instruction += 1
      case .textStart:
        holds = position == 0
        instruction += 1
      case .textEnd:
        holds = position == text.count
        instruction += 1
      case .lastLineEnd:
        holds = position == text.count || (position + 1 == text.count && text[position] == 0x0A)
        instruction += 1
      case .wordBoundary(let negated):
        holds = isWordBoundary(text, position) != negated
        instruction += 1
      }
      if !holds {
        guard let (next, place) = resume(text, above: base) else { return nil }
        (instruction, position) = (next, place)
      }
    }
  }

  /// The last place to come back to.
  private func resume(_ text: Bytes, above base: Int) -> (instruction: Int, position: Int)? {
    guard stack.count > base else { return nil }
    let last = stack.count - 1
    let place = stack[last]
    if place.position == place.least {
      stack.removeLast()
      return (place.instruction, place.position)
    }
    let shorter = text.scalarStart(before: place.position)
    if shorter == place.least { stack.removeLast() } else { stack[last].position = shorter }
    return (place.instruction, shorter)
  }

  private func take(
    _ text: Bytes, _ set: Int, _ least: Int, _ most: Int, _ keeps: Bool, _ position: inout Int, next: Int
  ) -> Bool {
    var count = 0
    var leastPosition = position
    while count < most, position < text.count {
      let (scalar, length) = text.scalar(at: position)
      guard pattern.sets[set].contains(scalar, table) else { break }
      position += length
      count += 1
      if count == least { leastPosition = position }
    }
    steps += count
    if count < least { return false }
    if !keeps, count > least {
      // What is taken now is tried first; the resumption starts with one scalar less.
      stack.append(Resumption(instruction: next, position: position, least: leastPosition))
    }
    return true
  }

  private func isWordBoundary(_ text: Bytes, _ position: Int) -> Bool {
    let before = position > 0 && table.isPatternWord(text.scalar(at: text.scalarStart(before: position)).value)
    let after = position < text.count && table.isPatternWord(text.scalar(at: position).value)
    return before != after
  }
}
