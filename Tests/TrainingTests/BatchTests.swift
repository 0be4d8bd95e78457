import Testing
import Training
import Transformer

@Test func labelsAreShiftedAndSamplesStayApart() {
  let a = Sample(tokens: [1, 2, 3], labels: [-100, 2, 3])
  let b = Sample(tokens: [4, 5], labels: [4, 5])
  let batch = Batch(rows: [[a, b]], rowLength: 7)
  #expect(batch.tokens == [1, 2, 3, 4, 5, 0, 0])
  #expect(batch.labels == [2, 3, -100, 5, -100, -100, -100])
  #expect(batch.layout.segments == [0, 3, 5, 7])
  #expect(batch.layout.positions == [0, 1, 2, 0, 1, 0, 1])
  #expect(batch.labelledTokenCount == 3)
}

/// Values of transformers' `get_linear_schedule_with_warmup` and `get_cosine_schedule_with_warmup`, 2 of 10 steps.
@Test func schedulesAreThoseOfTransformers() {
  let linear = LearningRateSchedule(kind: .linear, peak: 1, warmupSteps: 2, totalSteps: 10)
  #expect((0..<5).map { linear.rate(at: $0) } == [0, 0.5, 1, 0.875, 0.75])
  let cosine = LearningRateSchedule(kind: .cosine, peak: 1, warmupSteps: 2, totalSteps: 10)
  #expect(abs(cosine.rate(at: 6) - 0.5) < 1e-12)
}
