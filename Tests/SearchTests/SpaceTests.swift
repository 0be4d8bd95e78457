import Foundation
import Options
import Search
import Testing

@Suite struct SpaceTests {
  @Test func commasMakeValuesAndTheLastDimensionTurnsFastest() throws {
    let (space, base) = try Space.split(["rank": ["4,8"], "alpha": ["16,32"], "seed": ["1"]], file: nil)
    #expect(space.grid() == [["4", "16"], ["4", "32"], ["8", "16"], ["8", "32"]])
    #expect(base == ["seed": ["1"]])
  }

  @Test func optionsWithCommasInTheirValuesAreGivenSeveralTimes() throws {
    let (space, _) = try Space.split(["target-modules": ["q_proj,v_proj", "all-linear"]], file: nil)
    #expect(space.grid() == [["q_proj,v_proj"], ["all-linear"]])
    #expect(throws: OptionError.self) { try Space.split(["target-modules": ["q_proj,v_proj"]], file: nil) }
  }

  @Test func alphaMayBeAMultipleOfTheRank() throws {
    let (space, base) = try Space.split(["rank": ["4,8"], "alpha": ["1r,2r"]], file: nil)
    let all = try #require(space.grid()).map { try Settings($0, of: space, base: base).text }
    #expect(all == ["rank 4, alpha 4", "rank 4, alpha 8", "rank 8, alpha 8", "rank 8, alpha 16"])
  }

  @Test func whatAMethodDoesNotTakeIsLeftOutAndTriedOnce() throws {
    let (space, base) = try Space.split(["method": ["lora,ia3"], "rank": ["4,8"], "alpha": ["3"]], file: nil)
    let scheduler = try Scheduler(.grid, space: space, base: base, trials: nil, seed: 0)
    #expect(scheduler.candidates.map(\.text) == ["method lora, rank 4", "method lora, rank 8", "method ia3"])
    #expect(scheduler.candidates[2].options(over: base)["alpha"] == nil)
    #expect(scheduler.candidates[0].options(over: base)["alpha"] == ["3"])
  }

  @Test func drawnNumbersStayInTheirRange() throws {
    let (space, base) = try Space.split(["learning-rate": ["1e-5..1e-3:log"], "rank": ["2..5"]], file: nil)
    let scheduler = try Scheduler(.random, space: space, base: base, trials: 50, seed: 7)
    #expect(scheduler.candidates.count == 50)
    var low = 0
    for settings in scheduler.candidates {
      let words = settings.entries.reduce(into: [String: String]()) { $0[$1.option] = $1.word }
      let rate = Double(words["learning-rate"] ?? "") ?? 0
      #expect((1e-5...1e-3).contains(rate))
      #expect((2...5).contains(Int(words["rank"] ?? "") ?? 0))
      if rate < 1e-4 { low += 1 }
    }
    // Half of them by their logarithms; of evenly drawn ones it would be a tenth.
    #expect((13...37).contains(low))
    #expect(throws: OptionError.self) { try Scheduler(.grid, space: space, base: base, trials: 5, seed: 7) }
    #expect(throws: OptionError.self) { try Scheduler(.random, space: space, base: base, trials: nil, seed: 7) }
  }

  @Test func aSpaceFileIsReadAndItsMistakesAreNamed() throws {
    try withFolder { folder in
      func space(_ text: String) throws -> Space {
        try text.write(toFile: "\(folder)/space.json", atomically: true, encoding: .utf8)
        return try Space.split([:], file: "\(folder)/space.json").space
      }
      let all = try space(
        #"{"lora_r": [4, 8], "use_rslora": [true, false], "lr": {"low": 1e-5, "high": 1e-3, "log": true}}"#)
      #expect(
        all.dimensions == [
          Search.Dimension("rank", .choices(["4", "8"])), Search.Dimension("use-rslora", .choices(["true", "false"])),
          Search.Dimension("learning-rate", .range(low: 1e-5, high: 1e-3, isLogarithmic: true, isWhole: false)),
        ])
      for text in [
        "[]", #"{"rnak": [1]}"#, #"{"rank": []}"#, #"{"rank": {"low": 3, "high": 1}}"#, #"{"rank": [{}]}"#,
        #"{"output": ["a", "b"]}"#, #"{"learning_rate": {"low": 0, "high": 1, "log": true}}"#,
      ] {
        #expect(throws: OptionError.self, "\(text)") { try space(text) }
      }
    }
  }
}
