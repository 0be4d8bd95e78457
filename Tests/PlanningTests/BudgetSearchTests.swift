import Planning
import Testing

/// Whatever the amounts need, the search finds what trying all of them finds.
@Test func theSearchFindsTheMostThatFits() {
  var random = SystemRandomNumberGenerator()
  for _ in 0..<2000 {
    let count = Int.random(in: 1...40, using: &random)
    var needed = [100]
    for place in 0..<count {
      let step = Bool.random(using: &random) ? 0 : Int.random(in: 1...1000, using: &random)
      needed.append(needed[place] + step)
    }
    let budget = Int.random(in: 100...needed[count] + 100, using: &random)
    let most = BudgetSearch.most(count, within: budget) { needed[$0] }
    #expect(most == needed.lastIndex { $0 <= budget })
  }
}

/// Amounts that all need the same are found with few questions, and no room at all is found as well.
@Test func aStraightLineNeedsFewQuestions() {
  for budget in [1000, 1999, 2000, 30_000, 61_999] {
    var asked = 0
    let most = BudgetSearch.most(62, within: budget) {
      asked += 1
      return 1000 + 1000 * $0
    }
    #expect(most == (budget - 1000) / 1000 && asked <= 7)
  }
}
