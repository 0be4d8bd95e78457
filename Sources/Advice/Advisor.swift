import Architectures
import Formats
import Memory
import Options
import Planning
import Training
import Tuning

/// What an advisor says while it works.
public protocol AdviceObserver: AnyObject {
  /// A line for people.
  func note(_ line: String)
  /// So many methods of all are planned, or tried.
  func progress(_ done: Int, of all: Int, _ text: String)
}

/// Plans every method for some data, tries a few steps of them, and ranks them by what was measured on a task like this.
public final class Advisor {
  private let options: AdviceOptions
  private let training: TrainingOptions
  private let modelDirectory: String
  private let files: [String]
  private let observer: any AdviceObserver
  private var speed: MachineSpeed?
  private let inputs = RunInputs()
  /// What a run takes before its first step: reading, measuring, planning.
  private var startSeconds = 0.0

  /// - Parameter given: by option name, as the command was given them
  /// - Throws: `OptionError`
  public init(
    given: [String: [String]], modelDirectory: String, files: [String], observer: any AdviceObserver
  ) throws {
    options = try AdviceOptions(given)
    training = try TrainingOptions(options.shared)
    self.modelDirectory = modelDirectory
    self.files = files
    self.observer = observer
    if files.contains("-") { throw OptionError("--data -: the data is read again for every method; name a file") }
  }

  /// Time that all tried steps together may take.
  private static let trialSeconds = 45.0
  /// Steps of a method that count when it is tried.
  private static let triedSteps = 3
  /// Scores that differ by less are alike: so much comes from the seed.
  private static let alike = 0.02
  /// What is written at the end, and what else is no step.
  private static let endSeconds = 0.2

  /// A method that this model and budget take.
  private struct Planned {
    let candidate: Candidate
    let plan: TrainingPlan
    let forecast: RunForecast
    let products: (base: Double, method: Double)
    /// By budget of the matrix: whether there is a plan.
    var fits: [Bool] = []
    /// How much longer steps take than reckoned; `nil` where none was tried.
    var excess: Double?
  }

  public func advise() throws -> Advice {
    let found = try planAll()
    var planned = found.planned
    let report = try DataInspector(
      options: training, modelDirectory: modelDirectory, files: files, description: found.description,
      labelling: found.labelling
    ).report()
    try tryOut(&planned, on: report.kind)
    let usual = Self.mean(planned.compactMap(\.excess)) ?? 1
    let methods = planned.map { advice(for: $0, excess: $0.excess ?? usual, on: report.kind) }
    return Advice(
      data: report, model: Self.text(found.description), speed: speed ?? .assumed,
      availableBytes: MachineMemory.obtainableBytes, methods: ranked(methods), refused: found.refused,
      budgets: found.budgets, matrix: matrix(planned, of: found, excess: usual))
  }

  private static func mean(_ values: [Double]) -> Double? {
    values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
  }

  private static func text(_ model: ModelDescription) -> String {
    let count = model.tensors.reduce(0) { $0 + $1.shape.reduce(1, *) }
    return "\(model.family.architecture), \(model.layers.count) layers of \(model.hiddenSize), "
      + "\(Decimals.text(Double(count) / 1e6, 1)) M parameters"
  }

  // MARK: Planning

  private struct Found {
    var planned: [Planned] = []
    var refused: [(name: String, reason: String)] = []
    var budgets: [Int] = []
    /// Speed under each of them beside that without a limit, which is much the same for all methods.
    var shares: [Double] = []
    var description: ModelDescription
    var labelling: Labelling?
  }

  private func run(_ candidate: Candidate) throws -> TrainingRun {
    var given = options.shared
    // Where a run would write; what a trial spills goes to the same storage, in a file without a name.
    given["output"] = ["."]
    for option in candidate.options { given[option.name] = [option.value] }
    return try TrainingRun(
      options: try TrainingOptions(given), modelDirectory: modelDirectory, files: files, keepsData: false, speed: speed,
      inputs: inputs, observer: Silence())
  }

  /// Plans each method that the model takes.
  ///
  /// - Throws: `PlanError` where none fits the budget, and what is wrong with model or data
  private func planAll() throws -> Found {
    var found: Found?
    var failure: PlanError?
    let candidates = Candidate.all(for: try ModelDescription.load(directory: modelDirectory)).filter {
      MethodOptions.Method(rawValue: $0.method) != nil
    }
    var refused: [(name: String, reason: String)] = []
    for (place, candidate) in candidates.enumerated() {
      observer.progress(place, of: candidates.count, "planning \(candidate.name)")
      do {
        let start = ContinuousClock.now
        let run = try run(candidate)
        if speed == nil { startSeconds = start.duration(to: .now) / .seconds(1) }
        speed = run.plan.speed
        var all = found ?? Found(description: run.description, labelling: run.labelling)
        if found == nil { (all.budgets, all.shares) = try Self.budgets(run) }
        var planned = Planned(
          candidate: candidate, plan: run.plan, forecast: run.forecast(), products: try run.products())
        planned.fits = try all.budgets.map { try run.fits(budget: $0) }
        all.planned.append(planned)
        found = all
      } catch let error as PlanError {
        if error.least <= failure?.least ?? .max { failure = error }
        refused.append((candidate.name, "needs --max-mem \(ByteCount.text(error.least)) at least"))
      } catch let error as AdapterError {
        refused.append((candidate.name, "\(error)".split(separator: "\n").first.map(String.init) ?? ""))
      } catch let error as OptionError where found != nil {
        // What all methods share is in order, as one of them has shown.
        refused.append((candidate.name, "\(error)"))
      }
    }
    observer.progress(candidates.count, of: candidates.count, "planned")
    guard var found else {
      if let failure { throw failure }
      throw OptionError(
        "no method fits this model:" + refused.map { "\n       \($0.name): \($0.reason)" }.joined())
    }
    found.refused = refused
    return found
  }

  /// The least that works, one between, and one that keeps everything; with the speed of a method under each.
  private static func budgets(_ run: TrainingRun) throws -> (budgets: [Int], shares: [Double]) {
    let (least, most) = try run.budgetRange()
    let middle = (Int((Double(least) * Double(most)).squareRoot()) >> 20) << 20
    let budgets = [least] + [middle, most].filter { $0 > least + (8 << 20) }
    let free = max(run.plan.predictedTokensPerSecond, 1e-9)
    return (budgets, try budgets.map { try run.plan(budget: $0).predictedTokensPerSecond / free })
  }

  // MARK: Trying

  /// Does a few steps of as many methods as there is time for, the most promising ones first.
  private func tryOut(_ planned: inout [Planned], on kind: TaskKind) throws {
    guard options.triesSteps else { return }
    var left = Self.trialSeconds
    let order = planned.indices.sorted { score(planned[$0], kind) > score(planned[$1], kind) }
    for (done, index) in order.enumerated() {
      let method = planned[index]
      let steps = min(Self.triedSteps, method.forecast.steps)
      let expected = Double(steps + 1) * method.forecast.secondsPerStep
      guard expected <= left else { continue }
      observer.progress(done, of: order.count, "trying \(method.candidate.name)")
      let start = ContinuousClock.now
      planned[index].excess = try run(method.candidate).measuredExcess(steps: steps)
      left -= start.duration(to: .now) / .seconds(1)
    }
    observer.progress(order.count, of: order.count, "tried")
  }

  private func score(_ method: Planned, _ kind: TaskKind) -> Double {
    MeasuredFigure.of(method.candidate.name, on: kind)?.score ?? 0
  }

  // MARK: Ranking

  private func advice(for planned: Planned, excess: Double, on kind: TaskKind) -> MethodAdvice {
    let (candidate, forecast) = (planned.candidate, planned.forecast)
    let figure = MeasuredFigure.of(candidate.name, on: kind)
    let perStep = forecast.secondsPerStep * excess
    let wantedEpochs = training.optimization.epochs
    var epochs: Double? = wantedEpochs
    var steps = forecast.steps
    let fixed = startSeconds + Self.endSeconds
    if let limit = options.seconds {
      let room = max(0, limit - fixed) / max(perStep, 1e-9)
      let most = min(room / Double(max(forecast.stepsPerEpoch, 1)), 1e9)
      epochs = wantedEpochs <= most ? wantedEpochs : most >= 1 ? most.rounded(.down) : nil
      steps =
        epochs.map { OptimizationOptions.steps(epochs: $0, perEpoch: forecast.stepsPerEpoch) } ?? max(1, Int(room))
    }
    let rate = figure?.learningRate ?? candidate.usualLearningRate
    return MethodAdvice(
      candidate: candidate, plan: planned.plan, epochs: epochs, steps: steps,
      seconds: fixed + Double(steps) * perStep, secondsPerStep: perStep,
      tokensPerSecond: forecast.tokensPerStep / max(perStep, 1e-9), isTried: planned.excess != nil,
      fileBytes: fileBytes(planned), inference: inference(planned), figure: figure, learningRate: rate,
      arguments: arguments(candidate, rate: rate, epochs: epochs, steps: steps))
  }

  private func fileBytes(_ planned: Planned) -> Int {
    4 * (planned.candidate.storedParameters ?? planned.plan.trainableParameters)
  }

  private func inference(_ planned: Planned) -> InferenceCost {
    let tokens = planned.candidate.options.first { $0.name == "num-virtual-tokens" }.flatMap { Int($0.value) } ?? 0
    return InferenceCost(
      merges: ["lora", "dora", "ia3"].contains(planned.candidate.method),
      share: planned.products.method / max(planned.products.base, 1), virtualTokens: tokens)
  }

  /// What the table of a board says: the measured figure first; among those that are alike the faster one.
  private func ranked(_ methods: [MethodAdvice]) -> [MethodAdvice] {
    func step(_ method: MethodAdvice) -> Int { Int(((method.figure?.score ?? 0) / Self.alike).rounded()) }
    return methods.enumerated().sorted { left, right in
      if left.element.fits != right.element.fits { return left.element.fits }
      let (a, b) = (step(left.element), step(right.element))
      if a != b { return a > b }
      return (left.element.seconds, left.offset) < (right.element.seconds, right.offset)
    }.map(\.element)
  }

  private func arguments(_ candidate: Candidate, rate: Double, epochs: Double?, steps: Int) -> [String] {
    var words = ["--model", modelDirectory, "--data"] + files
    for declaration in AdviceOptions.declarations {
      guard let given = options.shared[declaration.name], !["model", "data", "epochs"].contains(declaration.name) else {
        continue
      }
      words += ["--\(declaration.name)"] + given
    }
    for option in candidate.options { words += ["--\(option.name)", option.value] }
    words += ["--learning-rate", "\(rate)", "--lr-scheduler", "cosine", "--warmup-ratio", "0.05"]
    words += epochs.map { ["--epochs", Decimals.plain($0)] } ?? ["--max-steps", "\(steps)"]
    return words + ["--output", "adapter"]
  }

  private func matrix(
    _ planned: [Planned], of found: Found, excess: Double
  ) -> [(task: TaskKind, cells: [Advice.Cell?])] {
    // An encoder gives no answers.
    let tasks = TaskKind.allCases.filter { !found.description.isEncoder || [.texts, .words].contains($0) }
    let shares = found.shares
    return tasks.compactMap { task in
      let cells = shares.indices.map { place -> Advice.Cell? in
        var best: (cell: Advice.Cell, step: Int)?
        for method in planned where method.fits[place] {
          guard let figure = MeasuredFigure.of(method.candidate.name, on: task) else { continue }
          let speed = method.forecast.tokensPerSecond * shares[place] / (method.excess ?? excess)
          let cell = Advice.Cell(method: method.candidate.name, figure: figure, tokensPerSecond: speed)
          let step = Int((figure.score / Self.alike).rounded())
          if let old = best, (old.step, old.cell.tokensPerSecond) >= (step, cell.tokensPerSecond) { continue }
          best = (cell, step)
        }
        return best?.cell
      }
      return cells.contains { $0 != nil } ? (task, cells) : nil
    }
  }
}

/// A run that is only planned says nothing.
private final class Silence: TrainingObserver {
  func note(_ line: String) {}
  func reading(_ done: Int, of all: Int) {}
  func stepped(_ report: StepReport, of steps: Int, machine: MachineState) {}
  func evaluating(_ done: Int, of all: Int) {}
  func evaluated(step: Int, figures: JSONObject, isBest: Bool) {}
}
