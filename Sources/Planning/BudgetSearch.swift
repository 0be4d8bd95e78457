/// How much of something fits a budget, where it takes long to find out what an amount needs.
public enum BudgetSearch {
  /// The most of `0...count` that need no more than `budget`; none always fit, and more never need less. As each needs about
  /// the same, a straight line between two amounts leads close to it; every other step halves what is left.
  public static func most(
    _ count: Int, within budget: Int, _ byteCount: (Int) throws -> Int
  ) rethrows -> Int {
    var (fits, tooMany) = (0, count)
    var (least, most) = (try byteCount(0), try byteCount(count))
    if most <= budget { return count }
    var isNearLine = true
    while tooMany - fits > 1 {
      let share = isNearLine ? Double(budget - least) / Double(most - least) : 0.5
      let next = min(max(fits + Int(share * Double(tooMany - fits)), fits + 1), tooMany - 1)
      let needed = try byteCount(next)
      isNearLine.toggle()
      if needed <= budget {
        (fits, least) = (next, needed)
      } else {
        (tooMany, most) = (next, needed)
      }
    }
    return fits
  }
}
