extension RowOrder {
  /// For each row in GGUF the row of Hugging Face's order; `nil` where the two are the same.
  public func sources(of count: Int) -> [Int]? {
    guard self != .same else { return nil }
    var rows = [Int](repeating: 0, count: count)
    for row in 0..<count { rows[place(ofRow: row, of: count)] = row }
    return rows
  }
}
