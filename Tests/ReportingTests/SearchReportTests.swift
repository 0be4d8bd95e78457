import Reporting
import Testing

struct SearchReportTests {
  private func trial(_ number: Int, rank: String, _ metric: Double?, front: Bool = false) -> SearchReport.Trial {
    .init(
      number: number, settings: [("rank", rank), ("method", number % 2 == 0 ? "lora" : "<dora>")], metric: metric,
      failure: metric == nil ? "no \"memory\"" : nil, parameters: 1000 * (number + 1),
      cost: Double(1000 * (number + 1)),
      steps: 9, allSteps: 9, isOnFront: front)
  }

  @Test func everyTrialIsInTheTableAndThoseThatEndedInThePictures() {
    let trials = [trial(0, rank: "4", 0.5, front: true), trial(1, rank: "8", 0.6), trial(2, rank: "16", nil)]
    let html = SearchReport(metric: "eval_loss", trials: trials, program: "test").html
    // Two costs and two options, with two trials each.
    #expect(html.components(of: "<svg") == 4 && html.components(of: "<circle") == 8)
    #expect(html.components(of: "<tr") == 4)
    #expect(html.contains("eval_loss by parameters") && html.contains("eval_loss by rank"))
  }

  @Test func whatComesFromOptionsIsNoMarkup() {
    let trials = [trial(0, rank: "4", 0.5), trial(1, rank: "8", 0.6), trial(3, rank: "8", nil)]
    let html = SearchReport(metric: "eval_<loss>", trials: trials, program: "<program>").html
    #expect(!html.contains("<dora>") && !html.contains("<loss>") && !html.contains("<program>"))
    #expect(!html.contains("NaN") && !html.contains("nan") && !html.contains("inf"))
  }

  @Test func figuresThatAreAllAlikeHaveAPlace() {
    let html = SearchReport(
      metric: "eval_loss", trials: [trial(0, rank: "4", 0), trial(1, rank: "4", 0)], program: "test"
    ).html
    #expect(html.contains("<circle") && !html.contains("nan"))
    #expect(SearchReport(metric: "eval_loss", trials: [], program: "test").html.contains("</html>"))
  }
}

extension String {
  /// How often a text occurs.
  fileprivate func components(of text: String) -> Int { ranges(of: text).count }
}
