/// Numbers as a user lists them: `0,1,2`, `0-3,7`.
public enum NumberList {
  private static let most = 1 << 16

  /// The numbers of `text` in its order; `nil` where it is no such list, or longer than 65,536 numbers in one of its ranges.
  public static func parse(_ text: String) -> [Int]? {
    var numbers: [Int] = []
    for part in text.split(separator: ",") {
      let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
      guard ends.count <= 2, let first = ends[0], let last = ends[ends.count - 1], 0 <= first, first <= last,
        last < 1 << 31, last - first < most
      else { return nil }
      numbers += first...last
    }
    return numbers
  }
}
