import Formats
import FoundationEssentials
import Glibc
import Options
import Planning
import Training
import Transformer
import Tuning

/// A search for a figure that no evaluation has.
public struct MissingFigure: Error, CustomStringConvertible {
  public let description: String
}

/// A trial that is ready to run.
struct Trial {
  let job: Job
  let settings: Settings
  let run: TrainingRun
  /// What its run would be alone.
  let plan: TrainingPlan
  /// Multiply-adds that the method adds to a token's way forth.
  let products: Double
  /// That preparing it took.
  let seconds: Double
}

/// How trials are prepared, run and recorded.
extension SearchRun {
  /// Does some of `jobs`, the first one among them; together, if that serves.
  ///
  /// - Parameter stopSignal: a number ends them with checkpoints
  /// - Returns: that number
  func work(on jobs: [Job], stopSignal: @escaping () -> Int32?) throws -> Int32? {
    let known = jobs.map { (job: $0, record: whole($0.trial)) }
    for case (let job, let record?) in known { try ledger.append(record.at(rung: job.rung)) }
    var trials = try ready(known.filter { $0.record == nil }.map(\.job))
    switch trials.count {
    case 0: return nil
    case 1: return try perform(trials[0], turn: nil, stopSignal: stopSignal)
    default:
      let company = TrialCompany(trials, of: self)
      // The memory of a trial goes with it.
      trials = []
      return try company.run(stopSignal: stopSignal)
    }
  }

  /// What comes of preparing a trial.
  private enum Prepared {
    case ready(Trial)
    /// It cannot run, which is recorded.
    case failed
    /// It can run, but not with the others.
    case apart
  }

  /// Prepares the first of `jobs`, and as many others as should and can run with it.
  private func ready(_ jobs: [Job]) throws -> [Trial] {
    StopRequest.endAtOnce()
    guard let job = jobs.first, case .ready(let first) = try prepare(job, beside: nil) else { return [] }
    var trials = [first]
    let most = try first.run.companyCount(
      most: min(options.together ?? SearchOptions.mostTogether, jobs.count), atAnyPrice: options.together != nil)
    // Companies of one size: a small one at the end would have to itself what was too little for those before it.
    let companies = (jobs.count + most - 1) / most
    let wanted = (jobs.count + companies - 1) / companies
    preparing: for job in jobs.dropFirst() where trials.count < wanted && goes(job, with: first) {
      switch try prepare(job, beside: first) {
      case .ready(let trial): trials.append(trial)
      case .failed: continue
      case .apart: break preparing
      }
    }
    guard trials.count > 1 else { return trials }
    trials = Array(trials.prefix(try TrainingRun.planTogether(trials.map(\.run))))
    if trials.count > 1 {
      observer.note("\(trials.count) trials go through the weights together")
    }
    return trials
  }

  /// Whether the settings of a job leave model and data as they are for another one, as far as can be told before the data
  /// is read.
  private func goes(_ job: Job, with first: Trial) -> Bool {
    func words(_ settings: Settings) -> [String: [String]] {
      settings.options(over: base).filter { TrainingOptions.decidesData($0.key) }
    }
    return words(scheduler.candidates[job.trial]) == words(first.settings)
  }

  /// Reads, measures and plans. What cannot run is recorded.
  ///
  /// - Parameter first: the trial that this one is to run with
  private func prepare(_ job: Job, beside first: Trial?) throws -> Prepared {
    let settings = scheduler.candidates[job.trial]
    var given = settings.options(over: base)
    given["output"] = [path(job.trial)]
    given["save-total-limit"] = ["1"]
    // What an earlier process or rung has left is gone on with.
    given["resume"] = FileManager.default.fileExists(atPath: path(job.trial)) ? [] : nil
    given["force"] = nil
    // Before the first step all trials know as much as the model; who looks for the best state may want even that one.
    if !looksForBest { given["no-eval-on-start"] = [] }
    let start = ContinuousClock.now
    var seconds: Double { start.duration(to: .now) / .seconds(1) }
    do {
      let run = try TrainingRun(
        options: try TrainingOptions(given), modelDirectory: modelDirectory, files: files, keepsData: false,
        speed: speed, inputs: inputs, observer: observer.began(job, of: scheduler.trialCount, settings: settings))
      speed = run.plan.speed
      if let first, !run.goes(with: first.run) { return .apart }
      return .ready(
        Trial(
          job: job, settings: settings, run: run, plan: run.plan, products: try run.products().method, seconds: seconds)
      )
    } catch is PlanError where first != nil {
      // Alone it may fit.
      return .apart
    } catch let failure where Self.isOfSettings(failure) {
      try record(job, trial: nil, steps: 0, metric: nil, failure: "\(failure)", seconds: seconds)
      return .failed
    }
  }

  /// Whether other settings may be such as this model, its memory and `train` take.
  private static func isOfSettings(_ failure: any Error) -> Bool {
    failure is PlanError || failure is OptionError || failure is AdapterError
  }

  /// Runs a trial as far as its rung, and records what came of it.
  ///
  /// - Parameters:
  ///   - turn: where it takes turns with others
  ///   - stopSignal: a number ends it with a checkpoint
  /// - Returns: that number
  func perform(_ trial: Trial, turn: WeightTurn?, stopSignal: @escaping () -> Int32?) throws -> Int32? {
    let start = ContinuousClock.now
    var seconds: Double { trial.seconds + (turn?.busySeconds ?? start.duration(to: .now) / .seconds(1)) }
    let all = trial.run.stepCount
    let share = scheduler.share(of: trial.job.rung)
    let pause = share < 1 ? min(all, max(1, Int((Double(all) * share).rounded()))) : nil
    do {
      // Among those that are told apart by a part of the steps a part of the evaluation does.
      let outcome = try trial.run.run(
        pausingAfter: pause, restShare: looksForBest ? 1 : share, turn: turn, stopSignal: stopSignal)
      if let signal = outcome.signalNumber { return signal }
      guard let metric = outcome.figures?[training.evaluation.metric] else {
        throw MissingFigure(
          description: "--metric-for-best-model \(training.evaluation.metric): the evaluation has "
            + (outcome.figures?.keys.filter { $0.hasPrefix("eval_") }.joined(separator: ", ") ?? "no figures"))
      }
      try record(
        trial.job, trial: trial, steps: outcome.summary["steps"]?.intValue ?? 0, metric: metric.doubleValue,
        failure: metric == .null ? "\(training.evaluation.metric) is no number here" : nil, seconds: seconds)
    } catch let failure as RunFailed {
      try record(
        trial.job, trial: trial, steps: failure.step, metric: nil, failure: "\(failure)", seconds: seconds)
    } catch let failure where Self.isOfSettings(failure) {
      try record(trial.job, trial: trial, steps: 0, metric: nil, failure: "\(failure)", seconds: seconds)
    }
    return nil
  }

  /// - Parameter trial: `nil` where it could not be prepared
  private func record(
    _ job: Job, trial: Trial?, steps: Int, metric: Double?, failure: String?, seconds: Double
  ) throws {
    let record = TrialRecord(
      trial: job.trial, rung: job.rung, settings: scheduler.candidates[job.trial], steps: steps,
      allSteps: trial?.run.stepCount ?? 0, metric: metric, failure: failure,
      trainableParameters: trial?.plan.trainableParameters ?? 0, methodProducts: trial?.products ?? 0,
      predictedPeakBytes: trial?.plan.predictedPeakBytes ?? 0, seconds: seconds)
    try ledger.append(record)
    observer.ended(record)
  }
}

/// Trials that go through the weights together.
private final class TrialCompany: @unchecked Sendable {
  // @unchecked: while the trials run, whoever has the turn touches this and the search, and nobody else.

  /// Until all have ended: a thread may outlive its trial by a little, and the search holds the lock of its folder.
  private var search: SearchRun?
  private var trials: [Trial?]
  private var signal: Int32?
  private var stopSignal: () -> Int32? = { nil }
  /// What ends the search; the other trials then end with a checkpoint.
  private var failure: (any Error)?

  init(_ trials: [Trial], of search: SearchRun) {
    self.trials = trials
    self.search = search
  }

  /// - Parameter stopSignal: a number ends all trials with checkpoints
  /// - Returns: that number
  func run(stopSignal: @escaping () -> Int32?) throws -> Int32? {
    self.stopSignal = stopSignal
    StopRequest.install()
    defer { search = nil }
    RunCompany.run(count: trials.count) { [self] member, turn in
      do {
        try work(member, try turn.get())
      } catch {
        failure = failure ?? error
      }
    }
    if let failure { throw failure }
    return signal
  }

  private func work(_ member: Int, _ turn: WeightTurn) throws {
    guard failure == nil, let search, let trial = trials[member] else { return }
    trials[member] = nil
    let stopped = try search.perform(trial, turn: turn) { [self] in
      self.stopSignal() ?? (failure == nil ? nil : SIGTERM)
    }
    signal = signal ?? stopped
  }
}
