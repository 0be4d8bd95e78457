/// Heads of an attention layer.
public struct AttentionShape: Sendable, Equatable {
  public let headCount: Int
  public let keyValueHeadCount: Int
  public let headSize: Int
  /// Factor of the products of queries and keys.
  public let scale: Float

  /// - Parameter scale: `nil` is `1 / sqrt(headSize)`
  public init(headCount: Int, keyValueHeadCount: Int, headSize: Int, scale: Float? = nil) {
    precondition(headCount % keyValueHeadCount == 0, "query heads share key-value heads evenly")
    self.headCount = headCount
    self.keyValueHeadCount = keyValueHeadCount
    self.headSize = headSize
    self.scale = scale ?? 1 / Float(headSize).squareRoot()
  }

  var queriesPerKey: Int { headCount / keyValueHeadCount }
}
