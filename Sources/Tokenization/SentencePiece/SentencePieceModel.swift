import Formats

/// A `tokenizer.model` of SentencePiece, read and checked.
///
/// Format: the message `ModelProto` in protocol buffers' wire format. Source: google/sentencepiece,
/// `src/sentencepiece_model.proto`. Fields that say how to train are skipped.
struct SentencePieceModel {
  enum Kind: UInt64 {
    case unigram = 1
    case bytePair = 2
  }

  enum PieceType: UInt64 {
    case normal = 1
    case unknown, control, userDefined, unused, byte
  }

  struct Piece {
    var text = ""
    var score: Float = 0
    var type = PieceType.normal
  }

  let file: String
  private(set) var pieces: [Piece] = []
  private(set) var kind = Kind.unigram
  private(set) var usesByteFallback = false
  private(set) var unknownID = 0
  private(set) var startID = 1
  private(set) var endID = 2
  private(set) var paddingID = -1
  private(set) var charsMap: [UInt8] = []
  private(set) var addsDummyPrefix = true
  private(set) var removesExtraSpaces = true
  private(set) var escapesSpaces = true

  /// - Throws: `TokenizerError`
  init(_ bytes: UnsafeRawBufferPointer, file: String) throws {
    self.file = file
    var message = ProtobufReader(bytes, file: file)
    while let field = try message.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let part)): try readPiece(part)
      case (2, .bytes(let part)): try readTrainer(part)
      case (3, .bytes(let part)): try readNormalizer(part)
      default: break
      }
    }
    try check()
  }

  private func refuse(_ reason: String) -> TokenizerError {
    TokenizerError(file: file, reason: "\(reason); the file is damaged or no SentencePiece model")
  }

  private mutating func readPiece(_ part: UnsafeRawBufferPointer) throws {
    if pieces.count >= Vocabulary.mostListed { throw refuse("it has more than \(Vocabulary.mostListed) pieces") }
    var piece = Piece()
    var message = ProtobufReader(part, file: file)
    while let field = try message.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let text)):
        guard let text = String(validating: text, as: UTF8.self) else {
          throw refuse("piece \(pieces.count) is not UTF-8")
        }
        piece.text = text
      case (2, .fixed32(let bits)): piece.score = Float(bitPattern: bits)
      case (3, .integer(let value)):
        guard let type = PieceType(rawValue: value) else { throw refuse("piece \(pieces.count) has type \(value)") }
        piece.type = type
      default: break
      }
    }
    guard piece.score.isFinite else { throw refuse("piece \(pieces.count) has a score that is no number") }
    pieces.append(piece)
  }

  private mutating func readTrainer(_ part: UnsafeRawBufferPointer) throws {
    var message = ProtobufReader(part, file: file)
    while let field = try message.next() {
      guard case .integer(let value) = field.value else { continue }
      // Negative numbers are written in 64 bits.
      let number = Int(truncatingIfNeeded: value)
      switch field.number {
      case 3:
        guard let kind = Kind(rawValue: value) else {
          throw TokenizerError(
            file: file,
            reason: "a SentencePiece model of words or characters is not supported; supported are unigram and BPE")
        }
        self.kind = kind
      case 35: usesByteFallback = value != 0
      case 40: unknownID = number
      case 41: startID = number
      case 42: endID = number
      case 43: paddingID = number
      default: break
      }
    }
  }

  private mutating func readNormalizer(_ part: UnsafeRawBufferPointer) throws {
    var message = ProtobufReader(part, file: file)
    while let field = try message.next() {
      switch (field.number, field.value) {
      case (2, .bytes(let map)): charsMap = Array(map)
      case (3, .integer(let value)): addsDummyPrefix = value != 0
      case (4, .integer(let value)): removesExtraSpaces = value != 0
      case (5, .integer(let value)): escapesSpaces = value != 0
      default: break
      }
    }
  }

  private func check() throws {
    guard pieces.contains(where: { $0.type == .normal }) else { throw refuse("it has no pieces of text") }
    guard pieces.indices.contains(unknownID) else { throw refuse("its unknown piece \(unknownID) does not exist") }
    if let twice = firstTwice() { throw refuse("the piece \(pieces[twice].text.prefix(40)) is there twice") }
    if let empty = pieces.firstIndex(where: \.text.isEmpty) { throw refuse("piece \(empty) is empty") }
  }

  /// A piece whose text another one has, byte for byte. A set of all texts would take several times the file.
  private func firstTwice() -> Int? {
    var order = pieces.indices.map { (hash: pieces[$0].text.utf8.fnv1a, index: UInt32($0)) }
    order.sort { ($0.hash, $0.index) < ($1.hash, $1.index) }
    for (left, right) in zip(order, order.dropFirst()) where left.hash == right.hash {
      if pieces[Int(left.index)].text.utf8.elementsEqual(pieces[Int(right.index)].text.utf8) { return Int(right.index) }
    }
    return nil
  }

  /// The text of a piece; `nil` where the id means that there is none.
  func text(_ id: Int) -> String? { pieces.indices.contains(id) ? pieces[id].text : nil }
}

extension String.UTF8View {
  /// Source: Fowler, Noll & Vo, FNV-1a with 64 bits.
  fileprivate var fnv1a: UInt64 { reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 } }
}
