/// A row that a method puts in front of the embedded text: among the ids of a batch it stands as a number below zero.
public enum VirtualToken {
  /// What stands for row `row`.
  public static func id(_ row: Int) -> Int32 { Int32(-1 - row) }

  /// The row that an id stands for; `nil` for a token of the vocabulary.
  public static func row(_ id: Int32) -> Int? { id < 0 ? Int(-1 - id) : nil }

  /// What stands for all rows, in their order.
  public static func ids(_ count: Int) -> [Int32] { (0..<count).map(id) }
}
