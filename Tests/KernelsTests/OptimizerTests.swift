import Formats
import Foundation
import Kernels
import Testing

private let golden = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
  .appendingPathComponent("Golden/optimizers.safetensors").path

/// A vector whose memory stays until the tests end.
private func vector(_ values: [Float]) -> Vector {
  let vector = Vector(UnsafeMutablePointer<Float>.allocate(capacity: max(values.count, 1)), count: values.count)
  vector.assign(values)
  return vector
}

private func zeros(_ count: Int) -> Vector { vector([Float](repeating: 0, count: count)) }

/// Updates of a matrix and a vector, one behind the other, against those of torch, transformers and bitsandbytes.
struct OptimizerTests {
  private static let shapes = [
    FactoredSquares.Shape(rows: 6, columns: 5, isFactored: true),
    FactoredSquares.Shape(rows: 1, columns: 7, isFactored: false),
  ]

  private static func state(_ kind: OptimizerKind) -> OptimizerState {
    switch kind {
    case .adamw: .moments(.f32(first: zeros(37), second: zeros(37)))
    case .adafactor: .factored(FactoredSquares(shapes, means: zeros(FactoredSquares.count(of: shapes))))
    case .lion: .momentum(zeros(37))
    case .sgd: .none
    }
  }

  @Test(arguments: [OptimizerKind.sgd, .adafactor, .lion], ["0.0", "0.1"])
  func updatesAreThoseOfTheLibraries(kind: OptimizerKind, decay: String) throws {
    let file = try SafetensorsFile(path: golden)
    func floats(_ name: String) throws -> [Float] {
      let matrix = try #require(file.tensor("\(name).matrix"))
      let other = try #require(file.tensor("\(name).vector"))
      return matrix.floats() + other.floats()
    }
    let parameters = vector(try floats("start"))
    let optimizer = Optimizer(kind, weightDecay: Double(decay) ?? 0)
    let state = Self.state(kind)
    let pool = ThreadPool(threadCount: 2)
    for step in 1...6 {
      optimizer.update(
        parameters: parameters, gradients: vector(try floats("gradient.\(step)")), state: state, step: step,
        learningRate: 1e-2, pool: pool)
      let expected = try floats("\(kind.rawValue).\(decay).\(step)")
      // sums of a few squares in another order
      let worst = zip(parameters.values, expected).map { abs($0 - $1) }.max() ?? 1
      #expect(worst < 2e-6, "\(kind) after step \(step): \(worst)")
    }
  }

  /// Two halves with one factor are the whole with that learning rate.
  @Test(arguments: OptimizerKind.allCases) func factorsMultiplyTheLearningRate(kind: OptimizerKind) throws {
    func trained(_ parts: [UpdatePart], rate: Double, decay: Double = 0.1) -> [Float] {
      let parameters = vector((0..<37).map { (place: Int) -> Float in Float(place) / 37 - 0.5 })
      let state = Self.state(kind)
      for step in 1...3 {
        let gradients = vector((0..<37).map { (place: Int) -> Float in Float((place % 5 - 2) * step) })
        Optimizer(kind, weightDecay: decay).update(
          parameters: parameters, gradients: gradients, state: state,
          step: step, learningRate: rate, parts: parts, pool: ThreadPool(threadCount: 1))
      }
      return parameters.values
    }
    let halves = [UpdatePart(0..<30, factor: 4), UpdatePart(30..<37, factor: 4)]
    #expect(trained(halves, rate: 0.25e-2) == trained([], rate: 1e-2))
    let one = [UpdatePart(0..<30), UpdatePart(30..<37, factor: 4)]
    #expect(trained(one, rate: 1e-2).prefix(30) == trained([], rate: 1e-2).prefix(30))
    #expect(trained(one, rate: 1e-2).suffix(7) != trained([], rate: 1e-2).suffix(7))
    // What does not decay is as without decay.
    let fixed = trained([UpdatePart(0..<30), UpdatePart(30..<37, decays: false)], rate: 1e-2)
    #expect(fixed.prefix(30) == trained([], rate: 1e-2).prefix(30))
    #expect(fixed.suffix(7) == trained([], rate: 1e-2, decay: 0).suffix(7))
  }

  /// The largest gradients, and no others, make the step that they make with all.
  @Test(arguments: [OptimizerKind.adamw, .lion, .sgd], [(share: 0.25, count: 9), (1e-6, 1), (0.999, 36)])
  func onlyTheLargestGradientsChangeParameters(kind: OptimizerKind, chosen: (share: Double, count: Int)) throws {
    let optimizer = Optimizer(kind, weightDecay: 0.1)
    let start = (0..<37).map { Float($0) / 37 - 0.5 }
    // all magnitudes are different, and 0 is among them
    let gradient = (0..<37).map { index -> Float in
      let magnitude = Float(index * 10 % 37) * 1e-3
      return index % 2 == 0 ? magnitude : -magnitude
    }
    let parts = [UpdatePart(0..<30), UpdatePart(30..<37, factor: 4, decays: false)]
    func trained(_ share: Double) -> [Float] {
      let parameters = vector(start)
      let state = Self.state(kind)
      for step in 1...3 {
        optimizer.update(
          share: share, parameters: parameters, gradients: vector(gradient), state: state, step: step,
          learningRate: 1e-2, parts: parts, pool: ThreadPool(threadCount: 1))
      }
      return parameters.values
    }
    let (some, all) = (trained(chosen.share), trained(1))
    let magnitudes = gradient.map { $0.magnitude }.sorted(by: >)
    let least = magnitudes[chosen.count - 1]
    for index in 0..<37 {
      if gradient[index].magnitude >= least {
        // the same sums, perhaps in other lanes of a vector
        #expect(abs(some[index] - all[index]) < 1e-6, "\(kind), element \(index)")
      } else {
        #expect(some[index] == start[index], "\(kind), element \(index)")
      }
    }
  }

  @Test func gradientsOfZeroAndEqualsAreNoExceptions() {
    let parameters = vector([1, 1, 1, 1])
    func step(_ gradient: [Float], share: Double) -> [Float] {
      parameters.assign([1, 1, 1, 1])
      Optimizer(.sgd, weightDecay: 0.5).update(
        share: share, parameters: parameters, gradients: vector(gradient), state: .none, step: 1, learningRate: 0.5,
        pool: ThreadPool(threadCount: 1))
      return parameters.values
    }
    #expect(step([0, 0, -0, 0], share: 0.5) == [1, 1, 1, 1])
    #expect(step([0, 2, 0, 0], share: 0.75) == [1, -0.25, 1, 1])
    #expect(step([2, -2, 2, 1], share: 0.25) == [-0.25, 1.75, -0.25, 1])
  }
}
