import Architectures

extension LabelledSamples {
  /// A row without its labels: what a model is asked.
  public struct Question: Sendable {
    /// Labels are 0 wherever the model is to say something.
    public let sample: Sample
    /// The text; words with a space between them.
    public let text: String
    /// Of each word that the model is asked about, its characters (Unicode scalars) in the text.
    public let words: [Range<Int>]
    /// Whether the model does not see the end of the text.
    public let isCut: Bool
  }

  /// Of a text the words are those that the tokenizer cuts, but what no space parts is one word, unless it is written in a
  /// script that has no spaces.
  public func question(_ row: LabelledRow) -> Question {
    let (tokens, isCut) = encoding(row)
    var sample = Sample(tokens: tokens.ids, labels: [Int32](repeating: Label.ignored, count: tokens.count))
    sample.labelsFollow = false
    if typeCount > 1, tokens.typeIDs.contains(where: { $0 != 0 }) {
      sample.typeIDs = tokens.typeIDs.map { min($0, Int32(typeCount - 1)) }
    }
    let width = labelling.labels.count
    func ask(_ token: Int) {
      sample.labels[token] = 0
      if labelling.problem != .singleLabel { sample.targets += [Float](repeating: 0, count: width) }
    }
    var words: [Range<Int>] = []
    let text: String
    switch row.content {
    case .text(let whole, _): text = whole
    case .words(let parts): text = parts.joined(separator: " ")
    }
    guard labelling.task == .tokenClassification else {
      if !sample.tokens.isEmpty { ask(readsFirstToken ? 0 : sample.tokens.count - 1) }
      return Question(sample: sample, text: text, words: [], isCut: isCut)
    }
    var starts = [0]
    if case .words(let parts) = row.content {
      for part in parts { starts.append(starts[starts.count - 1] + part.unicodeScalars.count + 1) }
    }
    let scalars = Array(text.unicodeScalars)
    var last: Int?
    for token in tokens.ids.indices {
      guard let word = tokens.wordIndices[token], tokens.textIndices[token] == 0 else { continue }
      var place = tokens.offsets[token]
      if case .words(let parts) = row.content {
        if word != last {
          ask(token)
          words.append(starts[word]..<starts[word] + parts[word].unicodeScalars.count)
        }
      } else {
        // Byte-level tokens take the space before them along.
        while let first = place.first, first < scalars.count, scalars[first].properties.isWhitespace {
          place = first + 1..<place.upperBound
        }
        if place.isEmpty { continue }
        let joins = place.lowerBound > 0 && !Self.isBorder(scalars[place.lowerBound - 1], scalars[place.lowerBound])
        // Tokens that are parts of a character share its place.
        if let open = words.last, joins || place.lowerBound < open.upperBound {
          words[words.count - 1] = open.lowerBound..<max(open.upperBound, place.upperBound)
        } else {
          ask(token)
          words.append(place)
        }
      }
      last = word
    }
    return Question(sample: sample, text: text, words: words, isCut: isCut)
  }

  /// Whether a word may end before the second of two characters.
  private static func isBorder(_ first: Unicode.Scalar, _ second: Unicode.Scalar) -> Bool {
    first.properties.isWhitespace || standsAlone(first) || standsAlone(second)
  }

  /// Chinese characters and kana, whose words no spaces part.
  private static func standsAlone(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x3005...0x3007, 0x3040...0x30FF, 0x31F0...0x31FF, 0x3400...0x4DBF, 0x4E00...0x9FFF, 0xF900...0xFAFF,
      0xFF66...0xFF9F, 0x20000...0x323AF:
      true
    default: false
    }
  }
}
