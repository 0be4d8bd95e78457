import Architectures
import Kernels
import Memory
import Testing
import Transformer

/// The losses of heads with labels against figures of torch 2 in float64.
struct LabelLossTests {
  private struct Found {
    let mean: Double
    let gradient: [Float]
    let slopes: [Float]
  }

  /// Mean loss of two texts, and its gradient by finite differences and as it is computed.
  private func mean(_ loss: LabelLoss, labels: [Int32], targets: [Float] = []) throws -> Found {
    let start: [Float] = [1, 2, 0.5, 0.2, -1, 0.3]
    let (arena, logits) = try Arena.filled { $0.matrix("logits", kind: .head, rows: 2, columns: 3) }
    return withExtendedLifetime(arena) { () -> Found in
      func sum(_ values: [Float], scale: Float? = nil) -> Double {
        for row in 0..<2 { logits.row(row).assign(Array(values[3 * row..<3 * row + 3])) }
        return loss.sum(logits, labels: labels, targets: targets[...], gradientScale: scale)
      }
      let divisor = loss.divisor(labels)
      let slopes = start.indices.map { index -> Float in
        var (up, down) = (start, start)
        up[index] += 1e-2
        down[index] -= 1e-2
        return Float((sum(up) - sum(down)) / Double(up[index] - down[index]) / divisor)
      }
      let mean = sum(start, scale: Float(1 / divisor)) / divisor
      return Found(mean: mean, gradient: (0..<2).flatMap { logits.row($0).values }, slopes: slopes)
    }
  }

  /// Weights of classes, smoothing, and what `torch.nn.functional.cross_entropy` makes of them.
  private static let figures: [(weights: [Float], smoothing: Float, expected: Double)] = [
    ([1, 2, 0.5], 0, 0.5271185001139719), ([1, 2, 0.5], 0.1, 0.5917226703540559), ([], 0.1, 0.6862430741230123),
  ]

  @Test(arguments: figures.indices) func weightsAndSmoothingCountAsInTorch(index: Int) throws {
    let figure = Self.figures[index]
    let loss = LabelLoss(problem: .singleLabel, classWeights: figure.weights, smoothing: figure.smoothing)
    let found = try mean(loss, labels: [1, 2])
    #expect(abs(found.mean - figure.expected) < 1e-6)
    for (gradient, slope) in zip(found.gradient, found.slopes) { #expect(abs(gradient - slope) < 1e-4) }
  }

  @Test func tokensWithoutALabelDoNotCount() {
    let loss = LabelLoss(problem: .singleLabel, classWeights: [1, 2, 0.5])
    #expect(loss.divisor([Label.ignored, 1, 2, Label.ignored]) == 2.5)
    #expect(LabelLoss(problem: .multiLabel, classWeights: [1, 2]).divisor([0, Label.ignored, 0]) == 2)
  }

  @Test func gradientsOfTheOtherProblemsAreSlopes() throws {
    for problem in [ProblemType.multiLabel, .regression] {
      let found = try mean(LabelLoss(problem: problem), labels: [0, 0], targets: [1, 0, 1, 0, 0, 1])
      for (gradient, slope) in zip(found.gradient, found.slopes) { #expect(abs(gradient - slope) < 1e-4) }
    }
  }
}
