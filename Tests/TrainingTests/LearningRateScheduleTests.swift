import Testing
import Training

/// Values of transformers' `get_linear_schedule_with_warmup` and `get_cosine_schedule_with_warmup`, 2 of 10 steps.
@Test func schedulesAreThoseOfTransformers() {
  let linear = LearningRateSchedule(kind: .linear, peak: 1, warmupSteps: 2, totalSteps: 10)
  #expect((0..<5).map { linear.rate(at: $0) } == [0, 0.5, 1, 0.875, 0.75])
  let cosine = LearningRateSchedule(kind: .cosine, peak: 1, warmupSteps: 2, totalSteps: 10)
  #expect(abs(cosine.rate(at: 6) - 0.5) < 1e-12)
}
