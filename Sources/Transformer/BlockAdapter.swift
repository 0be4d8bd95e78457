import Kernels

/// What an adapter at a block reads.
public enum BlockAdapterSource: Sendable {
  /// The block's input.
  case input
  /// What the block adds to its input.
  case inner
  /// The block's output, as it is without the adapter.
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

/// What a training method adds to the sum of a block's input and what the block makes of it, as a function of what it reads
/// there. A norm around the sum comes after the adapter. It is only at blocks that stand one after the other and have no norm
/// between their last product and the sum.
public protocol BlockAdapter: AnyObject {
  var demand: BlockAdapterDemand { get }

  /// Does what can be done before the sum is there, and keeps what `add` and `backward` need.
  ///
  /// - Parameters:
  ///   - x: what it reads, `[tokens, hidden]`
  ///   - kept: `[tokens, columns]`, as many as the demand says
  func read(_ x: Matrix, keeping kept: Matrix, pass: Pass)

  /// Adds the adapter's share to the sum, `[tokens, hidden]`.
  func add(_ kept: Matrix, to y: Matrix, pass: Pass)

  /// Adds to the adapter's gradients, and remembers what `addInputGradient` needs, until the next call.
  ///
  /// - Parameters:
  ///   - dy: gradient of the sum, `[tokens, hidden]`
  ///   - x: what was read
  func backward(_ dy: Matrix, x: Matrix, kept: Matrix, pass: Pass)

  /// Adds the gradient of what was read, after `backward`.
  func addInputGradient(to dx: Matrix, pass: Pass)
}

/// What a method has hooked into a block.
final class BlockHooks {
  var adapter: (any BlockAdapter)?
}
