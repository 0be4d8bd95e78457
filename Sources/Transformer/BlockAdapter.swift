import Kernels

/// What an adapter at a block reads.
public enum BlockAdapterSource: Sendable {
  /// The block's input.
  case input
  /// What the block adds to its input.
  case inner
  /// The block's output.
  case output
}

/// What a training method adds to the output of a block, as a function of what it reads there. It is only at blocks that
/// stand one after the other and end with the sum.
public protocol BlockAdapter: AnyObject {
  var source: BlockAdapterSource { get }

  /// Does what can be done before the block's output is there, and keeps what `add` and `backward` need.
  ///
  /// - Parameters:
  ///   - x: what it reads, `[tokens, hidden]`
  ///   - kept: `[tokens, columns]`, as many as the method has asked for
  func read(_ x: Matrix, keeping kept: Matrix, pass: Pass)

  /// Adds the adapter's share to the block's output, `[tokens, hidden]`.
  func add(_ kept: Matrix, to y: Matrix, pass: Pass)

  /// Adds to the adapter's gradients, and remembers what `addInputGradient` needs, until the next call.
  ///
  /// - Parameters:
  ///   - dy: gradient of the block's output, `[tokens, hidden]`
  ///   - x: the block's input
  func backward(_ dy: Matrix, x: Matrix, kept: Matrix, pass: Pass)

  /// Adds the gradient of what was read, after `backward`.
  func addInputGradient(to dx: Matrix, pass: Pass)
}

/// What a method has hooked into a block.
final class BlockHooks {
  var adapter: (any BlockAdapter)?
}
