import Data
import Testing

@Test func labelsAreShiftedAndSamplesStayApart() {
  let a = Sample(tokens: [1, 2, 3], labels: [-100, 2, 3])
  let b = Sample(tokens: [4, 5], labels: [4, 5])
  let batch = Batch(rows: [[a, b]], rowLength: 7)
  #expect(batch.tokens == [1, 2, 3, 4, 5, 0, 0])
  #expect(batch.labels == [2, 3, -100, 5, -100, -100, -100])
  #expect(batch.segments == [0, 3, 5, 7])
  #expect(batch.tokenCount == 5 && batch.labelledTokenCount == 3)
}
