import Kernels

/// What an adapter at a block reads.
public enum BlockAdapterSource: Sendable {
  /// The block's input.
  case input
  /// What the block adds to its input.
  case inner
  /// The sum of the block's input and what the block makes of it, as it is without adapters: through the norm around it if
  /// there is one, or through the last layer's norm of the same kind where norms stand in front of the sum.
  case output
}

/// What an adapter at a block needs room for.
public struct BlockAdapterDemand: Sendable {
  public let source: BlockAdapterSource
  /// Floats per token that the adapter keeps for the way back, besides what it reads.
  public let columns: Int

  public init(source: BlockAdapterSource, columns: Int) {
    self.source = source
    self.columns = columns
  }
}

/// What the adapters at a block need room for: one that reads the block's input, and one that reads what the block makes of
/// it. A block can have both.
public struct BlockAdapterDemands: Sendable {
  public private(set) var beside: BlockAdapterDemand?
  public private(set) var behind: BlockAdapterDemand?

  public init(_ demands: [BlockAdapterDemand] = []) {
    for demand in demands {
      if demand.source == .input {
        beside = Self.larger(beside, demand)
      } else {
        behind = Self.larger(behind, demand)
      }
    }
  }

  /// Room that is enough for any of several methods, of which one is at work.
  public init(of any: [BlockAdapterDemands]) { self.init(any.flatMap(\.all)) }

  /// Those that there are.
  public var all: [BlockAdapterDemand] { [beside, behind].compactMap { $0 } }
  public var isEmpty: Bool { beside == nil && behind == nil }

  private static func larger(_ old: BlockAdapterDemand?, _ new: BlockAdapterDemand) -> BlockAdapterDemand {
    old.map { $0.columns >= new.columns ? $0 : new } ?? new
  }
}

/// What a training method adds to what a block makes, as a function of what it reads there. A norm that follows the block's
/// last product, before the sum with the block's input or after it, comes after the adapter.
public protocol BlockAdapter: AnyObject {
  var demand: BlockAdapterDemand { get }

  /// Does what can be done before the sum is there, and keeps what `add` and `backward` need.
  ///
  /// - Parameters:
  ///   - x: what it reads, `[tokens, hidden]`
  ///   - kept: `[tokens, columns]`, as many as the demand says
  func read(_ x: Matrix, keeping kept: Matrix, pass: Pass)

  /// Adds the adapter's share to what the block makes, or to its sum with the input, `[tokens, hidden]`.
  func add(_ kept: Matrix, to y: Matrix, pass: Pass)

  /// Adds to the adapter's gradients, and remembers what `addInputGradient` needs, until the next call.
  ///
  /// - Parameters:
  ///   - dy: gradient of what `add` has added to, `[tokens, hidden]`
  ///   - x: what was read
  func backward(_ dy: Matrix, x: Matrix, kept: Matrix, pass: Pass)

  /// Adds the gradient of what was read, after `backward`.
  func addInputGradient(to dx: Matrix, pass: Pass)
}

/// What methods have hooked into a block.
final class BlockHooks {
  /// Reads the block's input.
  private(set) var beside: (any BlockAdapter)?
  /// Reads what the block makes of its input.
  private(set) var behind: (any BlockAdapter)?
  /// Through which the one behind reads a sum that no norm stands around.
  private(set) var norm: Norm?

  var isEmpty: Bool { beside == nil && behind == nil }

  /// - Parameter norm: to read through
  func add(_ adapter: any BlockAdapter, through norm: Norm?) {
    if adapter.demand.source == .input { beside = adapter } else { (behind, self.norm) = (adapter, norm) }
  }

  func removeAll() { (beside, behind, norm) = (nil, nil, nil) }
}
