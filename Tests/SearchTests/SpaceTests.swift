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

  @Test(arguments: ["infr,2r", "nanr,2r"]) func alphaIsNoMultipleWithoutEnd(words: String) throws {
    let (space, base) = try Space.split(["alpha": [words]], file: nil)
    let first = try #require(space.grid()?.first)
    #expect(throws: OptionError.self) { try Settings(first, of: space, base: base) }
  }

  @Test func numbersBeyondTheWholeOnesAreRefused() throws {
    let (space, base) = try Space.split(["alpha": ["1e30r,2r"]], file: nil)
    let first = try #require(space.grid()?.first)
    #expect(try Settings(first, of: space, base: base).text == "alpha 8e+30")
    for range in ["1..9223372036854775807", "-9223372036854775808..1", "1..1e300"] {
      #expect(throws: OptionError.self) { try Space.split(["rank": [range]], file: nil) }
    }
    try withFolder { folder in
      let file = "\(folder)/space.json"
      try #"{"rank": {"low": 1, "high": 9223372036854775807}}"#.write(toFile: file, atomically: true, encoding: .utf8)
      #expect(throws: OptionError.self) { try Space.split([:], file: file) }
    }
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

  private func autoPEFT(_ given: [String: [String]] = [:]) throws -> (space: Space, base: [String: [String]]) {
    try Space.split(given, file: "autopeft") { 4 }
  }

  @Test func autoPEFTsSpaceIsOfLayersAndSizes() throws {
    let (space, base) = try autoPEFT()
    #expect(space.dimensions.count == 3 + 4 && space.dimensions.compactMap(\.member) == [0, 1, 2, 3])
    #expect(base["method"] == ["bottleneck+prefix_tuning"] && base["adapter-config"] == ["seq_bn+par_bn"])
    #expect(space.text.hasSuffix("; adapter-off any of 0-3"))
    func text(_ words: [String]) throws -> String { try Settings(words, of: space, base: base).text }
    let sizes = ["16", "0", "6"]
    #expect(
      try text(sizes + ["in", "in", "out", "in"])
        == "reduction-factor 16, parallel-reduction-factor 0, num-virtual-tokens 6, adapter-off 0-1,3")
    #expect(try text(sizes + ["out", "out", "out", "out"]).hasSuffix("adapter-off none"))
    let large = try Space.split([:], file: "autopeft") { 30 }
    #expect(throws: OptionError.self) {
      try Scheduler(.grid, space: large.space, base: large.base, trials: nil, seed: 1)
    }
  }

  @Test func flagsComeBeforeAutoPEFTsOwnValues() throws {
    let (space, base) = try autoPEFT([
      "reduction-factor": ["0,8"], "num-virtual-tokens": ["4"], "adapter-off": ["none"],
    ])
    #expect(space.grid()?.count == 2 * 11)
    #expect(base["num-virtual-tokens"] == ["4"] && base["adapter-off"] == ["none"])
    let (alone, its) = try autoPEFT(["method": ["bottleneck"]])
    let settings = try Settings(alone.dimensions.map { _ in "out" }, of: alone, base: its)
    #expect(!settings.entries.contains { $0.option == "num-virtual-tokens" })
    #expect(throws: OptionError.self) { try autoPEFT(["method": ["lora"]]) }
    #expect(throws: OptionError.self) { try autoPEFT(["method": ["bottleneck+lora"]]) }
  }

  @Test func settingsThatTrainNothingArePassedOver() throws {
    let given = ["reduction-factor": ["0,8"], "parallel-reduction-factor": ["0,4"], "num-virtual-tokens": ["0,2"]]
    let (space, base) = try autoPEFT(given.merging(["adapter-off": ["none"]]) { $1 })
    for strategy in [Strategy.grid, .random, .halving] {
      let scheduler = try Scheduler(strategy, space: space, base: base, trials: nil, seed: 1)
      #expect(scheduler.candidates.count == 7)
      #expect(!scheduler.candidates.contains { $0.trainsNothing(over: base) })
    }
    var drawing = try Scheduler(.tpe, space: space, base: base, trials: 40, seed: 1)
    var known: [Search.Measurement] = []
    while let job = try drawing.next(known) {
      known.append(Search.Measurement(trial: job.trial, rung: 0, cost: Double(job.trial % 7)))
    }
    #expect(drawing.candidates.count == 40 && !drawing.candidates.contains { $0.trainsNothing(over: base) })
    // Where there is nothing else, it is told.
    let (empty, rest) = try autoPEFT([
      "reduction-factor": ["0"], "parallel-reduction-factor": ["0"], "num-virtual-tokens": ["0"],
    ])
    var endless = try Scheduler(.tpe, space: empty, base: rest, trials: 3, seed: 1)
    #expect(throws: OptionError.self) { try endless.next([]) }
  }

  @Test func anyOfSomeLayersMayBeLeftOut() throws {
    try withFolder { folder in
      func space(_ text: String) throws -> (space: Space, base: [String: [String]]) {
        try text.write(toFile: "\(folder)/space.json", atomically: true, encoding: .utf8)
        return try Space.split(["method": ["bottleneck"]], file: "\(folder)/space.json")
      }
      let (some, base) = try space(#"{"reduction_factor": [4, 16], "adapter_off": {"any_of": [2, 3, 7]}}"#)
      let all = try #require(some.grid()).map { try Settings($0, of: some, base: base).text }
      #expect(all.count == 16 && all.last == "reduction-factor 16, adapter-off 2-3,7")
      #expect(Set(all).count == 16 && all.first == "reduction-factor 4, adapter-off none")
      for text in [
        #"{"rank": {"any_of": [1, 2]}}"#, #"{"adapter_off": {"any_of": []}}"#, #"{"adapter_off": {"any_of": [1, 1]}}"#,
        #"{"adapter_off": {"any_of": [-1]}}"#, #"{"adapter_off": {"any_of": ["a"]}}"#,
        #"{"adapter_off": {"any_of": 3}}"#,
      ] {
        #expect(throws: OptionError.self, "\(text)") { try space(text) }
      }
    }
  }

  /// What a pair does not have its options say nothing of.
  @Test func optionsOfTwoBottlenecksSayNothingOfOne() throws {
    let (space, base) = try Space.split(
      [
        "method": ["bottleneck"], "adapter-config": ["seq_bn,seq_bn+par_bn"], "parallel-reduction-factor": ["4,8"],
        "parallel-scaling": ["2"],
      ], file: nil)
    let all = try Scheduler(.grid, space: space, base: base, trials: nil, seed: 0).candidates
    #expect(all.count == 3 && all[0].text == "adapter-config seq_bn")
    #expect(all[0].options(over: base)["parallel-scaling"] == nil)
    #expect(all[1].options(over: base)["parallel-scaling"] == ["2"])
  }
}
