/// A regular expression as a program for a backtracking matcher, over UTF-8.
///
/// It serves the patterns that have no scanner of their own (see `WordScanner`): classes, general categories,
/// repetition (greedy, lazy, possessive), alternation, groups, look ahead and behind, anchors, `(?i)`.
struct RegexPattern: Sendable {
  enum Instruction: Sendable {
    /// Takes one scalar of the set.
    case set(Int)
    /// Takes scalars of the set, as many as there are, and gives them back one by one unless `keeps`.
    case run(Int, least: Int, most: Int, keeps: Bool)
    /// Goes on at the first place, and at the second if that fails.
    case split(Int, Int)
    case jump(Int)
    /// Goes on after `end` if the program that follows matches here (or `back` scalars before), or if it does not.
    case look(back: Int?, negated: Bool, end: Int)
    /// Goes on after `end`, at the end of the match of the program that follows.
    case atomic(end: Int)
    case lineStart
    case lineEnd
    case textStart
    case textEnd
    case lastLineEnd
    case wordBoundary(negated: Bool)
    case match
  }

  private(set) var program: [Instruction] = []
  private(set) var sets: [RegexClass] = []
  /// The least number of bytes of a match, for literal patterns all of them.
  let literal: [UInt8]?

  private static let longestProgram = 20_000

  /// What was written.
  let source: String

  init(_ pattern: String, dialect: RegexParser.Dialect = .oniguruma) throws {
    literal = nil
    source = pattern
    try emit(try RegexParser.parse(pattern, dialect))
    program.append(.match)
  }

  /// The text itself as a pattern.
  init(literal: String) {
    self.literal = Array(literal.utf8)
    source = literal
  }

  private mutating func emit(_ node: RegexNode) throws {
    if program.count > Self.longestProgram { throw RegexError(position: 0, reason: "so many repetitions") }
    switch node {
    case .set(let set): program.append(.set(add(set)))
    case .sequence(let nodes): for node in nodes { try emit(node) }
    case .choice(let nodes): try emitChoice(nodes[...])
    case .repeated(let node, let least, let most, .possessive):
      try emitAtomic(.repeated(node, least: least, most: most, .greedy))
    case .repeated(.set(let set), let least, let most, .greedy):
      program.append(.run(add(set), least: least, most: most, keeps: false))
    case .repeated(let node, let least, let most, let mode):
      for _ in 0..<least { try emit(node) }
      if most == Int.max {
        let start = program.count
        program.append(.jump(0))
        try emit(node)
        program.append(.jump(start))
        program[start] = split(start + 1, program.count, mode)
      } else {
        var optional: [Int] = []
        for _ in least..<most {
          optional.append(program.count)
          program.append(.jump(0))
          try emit(node)
        }
        for start in optional { program[start] = split(start + 1, program.count, mode) }
      }
    case .look(let node, let ahead, let negated):
      let start = program.count
      program.append(.match)
      try emit(node)
      program.append(.match)
      program[start] = .look(back: ahead ? nil : node.fixedLength, negated: negated, end: program.count)
    case .atomic(let node): try emitAtomic(node)
    case .lineStart: program.append(.lineStart)
    case .lineEnd: program.append(.lineEnd)
    case .textStart: program.append(.textStart)
    case .textEnd: program.append(.textEnd)
    case .lastLineEnd: program.append(.lastLineEnd)
    case .wordBoundary(let negated): program.append(.wordBoundary(negated: negated))
    }
  }

  private func split(_ more: Int, _ done: Int, _ mode: RegexNode.Mode) -> Instruction {
    mode == .lazy ? .split(done, more) : .split(more, done)
  }

  private mutating func emitChoice(_ nodes: ArraySlice<RegexNode>) throws {
    var ends: [Int] = []
    for (place, node) in zip(nodes.indices, nodes) {
      if place == nodes.endIndex - 1 {
        try emit(node)
      } else {
        let start = program.count
        program.append(.match)
        try emit(node)
        ends.append(program.count)
        program.append(.match)
        program[start] = .split(start + 1, program.count)
      }
    }
    for end in ends { program[end] = .jump(program.count) }
  }

  private mutating func emitAtomic(_ node: RegexNode) throws {
    if case .repeated(.set(let set), let least, let most, _) = node {
      program.append(.run(add(set), least: least, most: most, keeps: true))
      return
    }
    let start = program.count
    program.append(.match)
    try emit(node)
    program.append(.match)
    program[start] = .atomic(end: program.count)
  }

  private mutating func add(_ set: RegexClass) -> Int {
    sets.append(set)
    return sets.count - 1
  }
}
