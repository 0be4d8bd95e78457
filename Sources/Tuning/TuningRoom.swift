import Kernels
import Memory

/// Where a method's matrices and buffers lie.
public struct TuningRoom {
  /// Gives the memory; parameters are zero until `initialize` or `load`, after the arena's commit.
  public let arena: Arena
  /// Tokens of the largest micro-batch; 0 if the method is only applied.
  public let tokens: Int
  /// Whether its parameters have gradients.
  public let isTrained: Bool
  /// Whether the model's head is trained along.
  let includesHead: Bool
  /// Where the parameters and their gradients lie, if not in vectors of their own.
  let vectors: (parameters: Vector, gradients: Vector)?

  /// - Parameter trainingTokens: tokens of the largest micro-batch; 0 if the method is only applied
  public init(arena: Arena, trainingTokens: Int) {
    self.init(arena: arena, tokens: trainingTokens, isTrained: trainingTokens > 0, includesHead: true, vectors: nil)
  }

  init(
    arena: Arena, tokens: Int, isTrained: Bool, includesHead: Bool, vectors: (parameters: Vector, gradients: Vector)?
  ) {
    self.arena = arena
    self.tokens = tokens
    self.isTrained = isTrained
    self.includesHead = includesHead
    self.vectors = vectors
  }
}
