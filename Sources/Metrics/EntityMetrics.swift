/// A stretch of words that one tag names.
public struct Entity: Hashable, Sendable {
  public let type: String
  public let words: Range<Int>

  public init(type: String, words: Range<Int>) {
    self.type = type
    self.words = words
  }

  /// The entities of a sentence, to the letter: `B-x` begins one, each `I-x` behind goes on with it, and whatever else an
  /// `I-` follows is none. Where ends are marked, an entity has one, or is a single word that says so.
  ///
  /// - Parameter beginsInside: whether an `I-` that goes on with nothing begins an entity where ends are not marked: what
  ///   models of IOB1 mean by it, and how transformers' pipelines and `conlleval` read it
  public static func all(in tags: [String], scheme: TagScheme = .iob2, beginsInside: Bool = false) -> [Entity] {
    var entities: [Entity] = []
    var open: (type: String, start: Int)?
    func close(at end: Int) {
      if let open, scheme == .iob2 { entities.append(Entity(type: open.type, words: open.start..<end)) }
      open = nil
    }
    for (index, tag) in tags.enumerated() {
      let type = String(tag.dropFirst(2))
      if tag.hasPrefix("I-"), open?.type == type { continue }
      if let ends = scheme.ends, tag.dropFirst().first == "-" {
        if tag.first == ends.last, let open, open.type == type {
          entities.append(Entity(type: type, words: open.start..<index + 1))
        } else if tag.first == ends.single {
          entities.append(Entity(type: type, words: index..<index + 1))
        }
      }
      close(at: index)
      if tag.hasPrefix("B-") || (beginsInside && scheme == .iob2 && tag.hasPrefix("I-")) { open = (type, index) }
    }
    close(at: tags.count)
    return entities
  }
}

/// How tags tell where an entity ends.
public enum TagScheme: Sendable {
  /// `B-` and `I-` alone: with what comes next.
  case iob2
  /// `E-` is the last word and `S-` a single one (BIOES).
  case iobes
  /// `L-` is the last word and `U-` a single one.
  case bilou

  /// - Parameter tags: all that there are
  public init(tags: [String]) {
    func has(_ kinds: String...) -> Bool { tags.contains { tag in kinds.contains { tag.hasPrefix($0) } } }
    self = has("E-", "S-") ? .iobes : has("L-", "U-") ? .bilou : .iob2
  }

  var ends: (last: Character, single: Character)? {
    switch self {
    case .iob2: nil
    case .iobes: ("E", "S")
    case .bilou: ("L", "U")
    }
  }
}

/// How well entities are found: one counts if its words and its type are right, as seqeval counts in strict mode.
///
/// Source: Nakayama 2018, seqeval; Tjong Kim Sang & De Meulder 2003, arXiv cs/0306050.
public struct EntityMetrics: Sendable {
  public let table: ScoreTable
  /// Share of the words whose tag is right.
  public let accuracy: Double

  /// What has been counted of some sentences.
  struct Tally: Sendable {
    fileprivate var counts: [String: LabelCounts] = [:]
    fileprivate var hits = 0
    fileprivate var words = 0

    /// Takes a sentence: its tags, and those that were said.
    mutating func add(wanted: [String], given: [String], scheme: TagScheme) {
      precondition(wanted.count == given.count, "a tag to each word")
      let (expected, found) = (
        Set(Entity.all(in: wanted, scheme: scheme)), Set(Entity.all(in: given, scheme: scheme))
      )
      for entity in expected { counts[entity.type, default: LabelCounts()].wanted += 1 }
      for entity in found { counts[entity.type, default: LabelCounts()].said += 1 }
      for entity in found.intersection(expected) { counts[entity.type, default: LabelCounts()].hits += 1 }
      words += wanted.count
      hits += zip(wanted, given).count { $0 == $1 }
    }
  }

  /// - Parameters:
  ///   - truth: tags, sentence by sentence
  ///   - said: likewise
  public init(truth: [[String]], said: [[String]], scheme: TagScheme = .iob2) {
    precondition(truth.count == said.count, "an answer to each sentence")
    var tally = Tally()
    for (wanted, given) in zip(truth, said) { tally.add(wanted: wanted, given: given, scheme: scheme) }
    self.init(tally)
  }

  init(_ tally: Tally) {
    table = ScoreTable(tally.counts.keys.sorted().map { ($0, tally.counts[$0] ?? LabelCounts()) })
    accuracy = tally.words > 0 ? Double(tally.hits) / Double(tally.words) : 0
  }
}
