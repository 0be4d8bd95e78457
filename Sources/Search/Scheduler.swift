import Options
import Randomness

/// Which settings are tried, and how far.
public enum Strategy: String, Sendable, CaseIterable {
  /// Every setting, whole.
  case grid
  /// Some settings, drawn evenly, whole.
  case random
  /// All settings for a part of the steps, the best third of them for three times as many, and so on.
  ///
  /// Source: Jamieson & Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization".
  case halving
  /// The same without waiting for all: who is among the best third of those that got as far goes on at once.
  ///
  /// Source: Li et al. 2020, "A system for massively parallel hyperparameter tuning" (ASHA).
  case asha
  /// Settings that are drawn where good ones were denser than bad ones, whole.
  case tpe
}

/// What is to be done next: a trial as far as a rung.
public struct Job: Sendable, Equatable {
  /// Number of the trial, from 0; its settings are the candidate of that number.
  public let trial: Int
  /// From 0, where the fewest steps are done, to the last one, where all are.
  public let rung: Int

  package init(trial: Int, rung: Int) {
    self.trial = trial
    self.rung = rung
  }
}

/// What is known of a trial after a rung.
public struct Measurement: Sendable, Equatable {
  public let trial: Int
  public let rung: Int
  /// Smaller is better; infinite where the trial failed.
  public let cost: Double

  public init(trial: Int, rung: Int, cost: Double) {
    self.trial = trial
    self.rung = rung
    self.cost = cost
  }
}

/// Says what comes next from what is known, and from nothing else: a search that was killed goes on by asking again.
public struct Scheduler: Sendable {
  /// What is tried, by number of the trial; with `tpe` those that are known so far.
  public private(set) var candidates: [Settings]
  /// Trials at most.
  public let trialCount: Int
  public let rungCount: Int
  /// Of those at a rung, one of so many goes on to the next one, with so many times the steps.
  public let factor: Int
  private let waits: Bool
  /// Whether what comes next does not depend on the results of a stage that is not at its end.
  private let knowsAhead: Bool
  private let space: Space
  private let base: [String: [String]]
  private let seed: UInt64
  /// What `tpe` has drawn.
  private var drawn: [[String]]?

  /// - Parameters:
  ///   - trials: how many settings are drawn; `nil` for the whole grid
  ///   - seed: of what is drawn
  ///   - rungs: of halving, counting the last one
  public init(
    _ strategy: Strategy, space: Space, base: [String: [String]], trials: Int?, seed: UInt64, rungs: Int = 3,
    factor: Int = 3
  ) throws {
    self.factor = factor
    self.space = space
    self.base = base
    self.seed = seed
    waits = strategy == .halving
    knowsAhead = strategy != .asha && strategy != .tpe
    rungCount = strategy == .halving || strategy == .asha ? rungs : 1
    if strategy == .tpe {
      guard let trials else { throw OptionError("--strategy tpe has no end: say how many with --trials") }
      (candidates, trialCount, drawn) = ([], trials, [])
      return
    }
    drawn = nil
    var words: [[String]] = []
    if let grid = space.grid() {
      if strategy == .grid {
        words = grid
      } else {
        words = Shuffle.permutation(grid.count, seed: seed).map { grid[Int($0)] }
      }
    } else {
      guard strategy != .grid else {
        throw OptionError("--strategy grid needs lists of values, not ranges, and 100000 settings at most")
      }
      guard let trials else { throw OptionError("there is no end of settings: say how many with --trials") }
      var generator = SplitMix64(seed: seed)
      // Some drawings may be alike.
      for _ in 0..<10 * trials { words.append(space.draw(&generator)) }
    }
    var seen: Set<Settings> = []
    let distinct = try words.map { try Settings($0, of: space, base: base) }.filter {
      !$0.trainsNothing(over: base) && seen.insert($0).inserted
    }
    candidates = Array(distinct.prefix(trials ?? distinct.count))
    trialCount = candidates.count
  }

  /// Share of the steps after which a trial has reached a rung.
  public func share(of rung: Int) -> Double {
    var share = 1.0
    for _ in rung..<rungCount - 1 { share /= Double(factor) }
    return share
  }

  /// - Returns: `nil` where the search is at its end
  public mutating func next(_ known: [Measurement]) throws -> Job? {
    if drawn != nil {
      guard known.count < trialCount else { return nil }
      try draw(known)
      return Job(trial: known.count, rung: 0)
    }
    return waits || rungCount == 1 ? nextOfAll(known) : nextAtOnce(known)
  }

  /// Draws as many settings as are known, and one more: each from those before it, so that they come out alike again.
  private mutating func draw(_ known: [Measurement]) throws {
    var words = drawn ?? []
    while words.count <= known.count, words.count < trialCount {
      let history = words.indices.map { trial in
        (words: words[trial], taken: Set(candidates[trial].entries.map(\.option)), cost: known[trial].cost)
      }
      var generator = SplitMix64(seed: seed &+ UInt64(words.count) &* 0x9E37_79B9)
      let (found, settings) = try draw(&generator, history: history)
      words.append(found)
      candidates.append(settings)
    }
    drawn = words
  }

  /// Settings that train something.
  private func draw(
    _ generator: inout SplitMix64, history: [(words: [String], taken: Set<String>, cost: Double)]
  ) throws -> (words: [String], settings: Settings) {
    for _ in 0..<1000 {
      let words = TreeParzenSampler.words(space, history: history, generator: &generator)
      let settings = try Settings(words, of: space, base: base)
      if !settings.trainsNothing(over: base) { return (words, settings) }
    }
    throw OptionError("of 1000 settings that were drawn none trains anything: everything is left out in all of them")
  }

  /// Those that go from a rung to the next one, the best first; a failed trial never does.
  private func promoted(_ known: [Measurement], from rung: Int, count: Int) -> [Int] {
    let there = known.filter { $0.rung == rung && $0.cost.isFinite }
    return there.sorted { ($0.cost, $0.trial) < ($1.cost, $1.trial) }.prefix(count).map(\.trial)
  }

  /// Jobs that can be done at the same time, the next one first: in whatever order they end, the same comes after them.
  public mutating func following(_ known: [Measurement]) throws -> [Job] {
    guard let next = try next(known) else { return [] }
    return knowsAhead ? missing(known) : [next]
  }

  private func nextOfAll(_ known: [Measurement]) -> Job? { missing(known).first }

  /// What is still to be done at the first rung that has not seen all who get there.
  private func missing(_ known: [Measurement]) -> [Job] {
    var wanted = Array(candidates.indices)
    for rung in 0..<rungCount {
      let done = Set(known.filter { $0.rung == rung }.map(\.trial))
      let missing = wanted.filter { !done.contains($0) }
      if !missing.isEmpty { return missing.map { Job(trial: $0, rung: rung) } }
      wanted = promoted(known, from: rung, count: max(1, wanted.count / factor)).sorted()
    }
    return []
  }

  private func nextAtOnce(_ known: [Measurement]) -> Job? {
    for rung in (0..<rungCount - 1).reversed() {
      let above = Set(known.filter { $0.rung == rung + 1 }.map(\.trial))
      let count = known.filter { $0.rung == rung }.count / factor
      if let trial = promoted(known, from: rung, count: count).first(where: { !above.contains($0) }) {
        return Job(trial: trial, rung: rung + 1)
      }
    }
    let started = Set(known.map(\.trial))
    if let trial = candidates.indices.first(where: { !started.contains($0) }) { return Job(trial: trial, rung: 0) }
    // Where there are few, the best one still goes all the way.
    for rung in 0..<rungCount - 1 where !known.contains(where: { $0.rung > rung }) {
      if let trial = promoted(known, from: rung, count: 1).first { return Job(trial: trial, rung: rung + 1) }
    }
    return nil
  }
}
