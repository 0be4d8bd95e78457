import Kernels
import Memory

/// Where blocks get their memory: of their own, or shared with all that ask under the same name, which then get the same
/// addresses, as many bytes as the largest wish.
///
/// A shared room is measured first: every block asks for what it wants, then `reserve` takes the union from an arena, and
/// when the blocks ask again they get it.
final class Room {
  private enum Mode {
    case own(Arena, MemoryKind)
    case measuring
    case shared
    case nowhere
  }

  /// What was asked for under a name, and where it is.
  private struct Wish {
    let name: String
    let kind: MemoryKind
    var byteCount: Int
    var place: UnsafeMutableRawPointer = Arena.untouchable
  }

  private var mode: Mode
  private var wishes: [Wish] = []
  /// Behind the wish that was found last: every layer asks in the same order.
  private var next = 0

  /// Everything handed out is new.
  convenience init(_ arena: Arena, kind: MemoryKind) { self.init(.own(arena, kind)) }

  /// A shared room, to be measured.
  convenience init() { self.init(.measuring) }

  /// A room for what is not to be measured: its addresses must not be touched.
  static var nowhere: Room { Room(.nowhere) }

  private init(_ mode: Mode) { self.mode = mode }

  /// Takes the union of what was asked for; from then on it is handed out.
  func reserve(in arena: Arena) {
    for index in wishes.indices {
      let wish = wishes[index]
      wishes[index].place = arena.allocate(wish.name, kind: wish.kind, byteCount: wish.byteCount)
    }
    mode = .shared
  }

  private func memory(_ name: String, _ kind: MemoryKind, byteCount: Int) -> UnsafeMutableRawPointer {
    switch mode {
    case .own(let arena, let kind): return arena.allocate(name, kind: kind, byteCount: byteCount)
    case .measuring:
      if let index = wish(name) {
        wishes[index].byteCount = max(wishes[index].byteCount, byteCount)
      } else {
        wishes.append(Wish(name: name, kind: kind, byteCount: byteCount))
      }
      return Arena.untouchable
    case .nowhere: return Arena.untouchable
    case .shared:
      guard let index = wish(name), wishes[index].byteCount >= byteCount else {
        preconditionFailure("\(name) was measured with at least \(byteCount) bytes")
      }
      return wishes[index].place
    }
  }

  private func wish(_ name: String) -> Int? {
    let isNext = next < wishes.count && wishes[next].name == name
    let found = isNext ? next : wishes.firstIndex { $0.name == name }
    if let found { next = found + 1 }
    return found
  }

  /// A matrix of floats, `[rows, columns]`.
  func matrix(_ name: String, _ kind: MemoryKind = .recomputation, rows: Int, columns: Int) -> Matrix {
    let base = memory(name, kind, byteCount: ByteCount.product(rows, columns, MemoryLayout<Float>.stride))
    return Matrix(base.assumingMemoryBound(to: Float.self), rows: rows, columns: columns)
  }

  func vector(_ name: String, _ kind: MemoryKind = .recomputation, count: Int) -> Vector {
    let base = memory(name, kind, byteCount: count * MemoryLayout<Float>.stride)
    return Vector(base.assumingMemoryBound(to: Float.self), count: count)
  }

  func keptMatrix(
    _ name: String, _ kind: MemoryKind = .recomputation, rows: Int, columns: Int, format: KeptMatrix.Format
  ) -> KeptMatrix {
    let byteCount = ByteCount.product(rows, KeptMatrix.byteCount(rows: 1, columns: columns, format: format))
    return KeptMatrix(memory(name, kind, byteCount: byteCount), rows: rows, columns: columns, format: format)
  }
}

/// What a block needs to know to ask for its room.
struct RoomDemand {
  /// Tokens that the block computes together.
  let tokens: Int
  /// Whether there is a way back.
  let trains: Bool
  /// Whether what the way forth leaves stays until the way back, and is not computed again.
  var keepsActivations = false
  let precision: Precision
  /// Tokens of the longest sample.
  let positionCount: Int
  /// Keys and values that a method puts in front of every layer's attention.
  var prefixCount = 0
  /// Floats per token that the adapter at a linear layer keeps; 0 without one.
  let keptColumns: (LinearLocation) -> Int
  /// Of the adapters at a block, which its last linear layer stands for.
  var blockAdapters: (LinearLocation) -> BlockAdapterDemands = { _ in BlockAdapterDemands() }

  /// Of wide activations that wait for the way back.
  var wideFormat: KeptMatrix.Format { precision == .f32 ? .f32 : .f16 }

  /// The same for other tokens.
  func with(tokens: Int, keepsActivations: Bool) -> RoomDemand {
    RoomDemand(
      tokens: tokens, trains: trains, keepsActivations: keepsActivations, precision: precision,
      positionCount: positionCount, prefixCount: prefixCount, keptColumns: keptColumns,
      blockAdapters: blockAdapters)
  }
}

/// What a block needs beside its input: where the tokens lie, memory, and what the pass knows.
struct BlockContext<Working> {
  let layout: SequenceLayout
  let working: Working
  let workspace: Workspace
  let pass: Pass
}

/// What a block costs for each token.
public struct BlockCost: Sendable {
  /// Multiply-adds of all its frozen products, forward.
  public var products: Double
  /// Of those that are computed again where nothing was kept.
  public var productsAgain: Double
  /// Multiply-adds of attention's scores and mixing, forward.
  public var scores: Double
  /// Numbers that norms, activation functions and roundings go through, forward.
  public var elements: Double
  /// Whether the weights of attention are kept for the way back.
  public var keepsScores: Bool

  init(
    products: Double, productsAgain: Double? = nil, scores: Double = 0, elements: Double, keepsScores: Bool = false
  ) {
    self.products = products
    self.productsAgain = productsAgain ?? products
    self.scores = scores
    self.elements = elements
    self.keepsScores = keepsScores
  }
}
