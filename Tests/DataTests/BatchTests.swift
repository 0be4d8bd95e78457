import Architectures
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

@Test func virtualTokensStandInFrontOfEverySample() {
  let sample = Sample(tokens: [7, 8, 9], labels: [7, Label.ignored, 9])
  let batch = Batch(
    rows: [[sample, sample]], rowLength: 11, prompt: PromptPlaces(count: 2, takesFirstLabel: false))
  #expect(batch.tokens == [-1, -2, 7, 8, 9, -1, -2, 7, 8, 9, 0])
  // The first token follows the last virtual one.
  #expect(batch.labels == [-100, 7, -100, 9, -100, -100, 7, -100, 9, -100, -100])
  #expect(batch.segments == [0, 5, 10, 11] && batch.tokenCount == 10)
  #expect(batch.tokens.prefix(3).map { VirtualToken.row($0) } == [0, 1, nil])
}

@Test func whatIsReadFromTheFirstRowIsReadFromTheFirstVirtualOne() {
  var sample = Sample(tokens: [7, 8], labels: [3, Label.ignored])
  sample.labelsFollow = false
  func labels(_ takesFirstLabel: Bool) -> [Int32] {
    Batch(rows: [[sample]], rowLength: 4, prompt: PromptPlaces(count: 2, takesFirstLabel: takesFirstLabel)).labels
  }
  #expect(labels(true) == [3, -100, -100, -100])
  #expect(labels(false) == [-100, -100, 3, -100])
}
