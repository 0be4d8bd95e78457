import Memory

/// A budget that is too small for a model and what it is to answer.
public struct BudgetTooSmall: Error, CustomStringConvertible {
  public let description: String
}

extension LoadedModel {
  /// What the program may grow by besides the buffers that are planned: text, probabilities, threads.
  private static let slack = 16 << 20

  /// Bytes of the process once every weight has been used, with `working` for what is computed.
  public func processByteCount(working: Int) -> Int {
    // So that no weight is counted twice.
    model.store.dropPages()
    return ByteCount.sum(
      ByteCount.sum(ProcessMemory.residentBytes, Self.slack), ByteCount.sum(model.store.byteCount, working))
  }

  /// - Parameters:
  ///   - working: bytes for what is computed
  ///   - budget: bytes of the process; `nil` for as many as there are
  ///   - what: takes them, beside the weights
  ///   - instead: what would take fewer
  /// - Throws: `BudgetTooSmall`
  public func requireMemory(_ working: Int, within budget: Int?, for what: String, instead: String) throws {
    guard let budget else { return }
    let bytes = processByteCount(working: working)
    guard bytes <= budget else {
      throw BudgetTooSmall(
        description: "--max-mem \(ByteCount.text(budget)) is too small: the weights, \(what) and the program take "
          + "\(ByteCount.text(bytes)); give more, or \(instead)")
    }
  }
}
