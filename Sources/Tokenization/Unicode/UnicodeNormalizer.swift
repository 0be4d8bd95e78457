/// The four normalisation forms, from tables of our own.
///
/// Source: Unicode Standard Annex #15; which scalars it knows is what the `tokenizers` package knows.
struct UnicodeNormalizer: Sendable {
  enum Form: Sendable { case composed, decomposed, compatibilityComposed, compatibilityDecomposed }

  /// A scalar of the result, and how many scalars of the source it stands for beyond its own: 1 for one that was put in,
  /// -n for one that took n others in, as `tokenizers` counts.
  struct Piece {
    var scalar: UInt32
    var change: Int
  }

  static let shared = UnicodeNormalizer()

  private let canonical: Decompositions
  private let compatibility: Decompositions
  private let pairs: [UInt64: UInt32]
  private let classes: [UInt32: UInt8]

  private init() {
    canonical = Decompositions(CanonicalDecompositions.parts)
    compatibility = Decompositions(CompatibilityDecompositions.parts)
    var pairs: [UInt64: UInt32] = [:]
    HexadecimalList.forEachEntry(CanonicalDecompositions.pairs) { numbers in
      pairs[UInt64(numbers[0]) << 32 | UInt64(numbers[1])] = numbers[2]
    }
    self.pairs = pairs
    var classes: [UInt32: UInt8] = [:]
    HexadecimalList.forEachRange(CanonicalDecompositions.classes) { range, value in
      for scalar in range { classes[scalar] = UInt8(value) }
    }
    self.classes = classes
  }

  func normalized(_ text: some Sequence<UInt32>, _ form: Form) -> [Piece] {
    let isCompatible = form == .compatibilityComposed || form == .compatibilityDecomposed
    var pieces: [Piece] = []
    var combining: [UInt8] = []
    for scalar in text {
      var change = 0
      forEachPart(of: scalar, compatible: isCompatible) { part in
        pieces.append(Piece(scalar: part, change: change))
        combining.append(classes[part] ?? 0)
        change = 1
      }
    }
    Self.order(&pieces, &combining)
    return form == .decomposed || form == .compatibilityDecomposed ? pieces : composed(pieces, combining)
  }

  private func forEachPart(of scalar: UInt32, compatible: Bool, _ body: (UInt32) -> Void) {
    if scalar >= Hangul.first, scalar < Hangul.first + Hangul.count {
      let index = scalar - Hangul.first
      body(Hangul.lead + index / Hangul.perLead)
      body(Hangul.vowel + index % Hangul.perLead / Hangul.trailCount)
      if index % Hangul.trailCount > 0 { body(Hangul.trail + index % Hangul.trailCount) }
    } else if let parts = (compatible ? compatibility.parts(of: scalar) : nil) ?? canonical.parts(of: scalar) {
      parts.forEach(body)
    } else {
      body(scalar)
    }
  }

  /// Puts the marks behind each starter into the order of their classes.
  private static func order(_ pieces: inout [Piece], _ combining: inout [UInt8]) {
    var start = 0
    while start < pieces.count {
      if combining[start] == 0 {
        start += 1
        continue
      }
      var end = start
      var isOrdered = true
      while end < pieces.count, combining[end] > 0 {
        if end > start, combining[end] < combining[end - 1] { isOrdered = false }
        end += 1
      }
      if !isOrdered {
        let order = (start..<end).sorted { (combining[$0], $0) < (combining[$1], $1) }
        let (ordered, classes) = (order.map { pieces[$0] }, order.map { combining[$0] })
        pieces.replaceSubrange(start..<end, with: ordered)
        combining.replaceSubrange(start..<end, with: classes)
      }
      start = end
    }
  }

  private func composed(_ pieces: [Piece], _ combining: [UInt8]) -> [Piece] {
    var result: [Piece] = []
    result.reserveCapacity(pieces.count)
    /// Where the starter stands that what follows may join, and the class of what was left behind it.
    var starter: Int?
    var lastClass: UInt8?
    for (piece, combining) in zip(pieces, combining) {
      guard let place = starter else {
        if combining == 0 { starter = result.count }
        result.append(piece)
        continue
      }
      if lastClass.map({ $0 < combining }) ?? true, let joined = join(result[place].scalar, piece.scalar) {
        result[place] = Piece(scalar: joined, change: result[place].change + piece.change - 1)
        continue
      }
      if combining == 0 {
        starter = result.count
        lastClass = nil
      } else {
        lastClass = combining
      }
      result.append(piece)
    }
    return result
  }

  private func join(_ first: UInt32, _ second: UInt32) -> UInt32? {
    if first >= Hangul.lead, first < Hangul.lead + Hangul.leadCount {
      guard second >= Hangul.vowel, second < Hangul.vowel + Hangul.vowelCount else { return nil }
      return Hangul.first + (first - Hangul.lead) * Hangul.perLead + (second - Hangul.vowel) * Hangul.trailCount
    }
    if first >= Hangul.first, first < Hangul.first + Hangul.count, (first - Hangul.first) % Hangul.trailCount == 0 {
      guard second > Hangul.trail, second < Hangul.trail + Hangul.trailCount else { return nil }
      return first + second - Hangul.trail
    }
    return pairs[UInt64(first) << 32 | UInt64(second)]
  }
}

/// Where the syllables and letters of Hangul lie.
private enum Hangul {
  static let first: UInt32 = 0xAC00
  static let lead: UInt32 = 0x1100
  static let vowel: UInt32 = 0x1161
  static let trail: UInt32 = 0x11A7
  static let leadCount: UInt32 = 19
  static let vowelCount: UInt32 = 21
  static let trailCount: UInt32 = 28
  static let perLead = vowelCount * trailCount
  static let count = leadCount * perLead
}

/// What some scalars are taken apart into.
private struct Decompositions: Sendable {
  private var scalars: [UInt32] = []
  private var starts: [UInt32] = []
  private var all: [UInt32] = []

  init(_ text: StaticString) {
    var scalar: UInt32 = 0
    HexadecimalList.forEachEntry(text) { numbers in
      scalar += numbers[0]
      scalars.append(scalar)
      starts.append(UInt32(all.count))
      all += numbers[1...]
    }
    starts.append(UInt32(all.count))
  }

  func parts(of scalar: UInt32) -> ArraySlice<UInt32>? {
    guard let index = SortedSearch.last(in: scalars, notAbove: scalar), scalars[index] == scalar else { return nil }
    return all[Int(starts[index])..<Int(starts[index + 1])]
  }
}
