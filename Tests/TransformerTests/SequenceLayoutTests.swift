import Testing
import Transformer

@Test func positionsBeginAnewWithEverySample() {
  let layout = SequenceLayout(rowLength: 7, segments: [0, 3, 5, 7])
  #expect(layout.positions == [0, 1, 2, 0, 1, 0, 1])
  #expect(layout.sampleLengths == [3, 3, 3, 2, 2, 2, 2])
  #expect(layout.tokenCount == 7)
}
