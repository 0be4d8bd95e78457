import Testing
import Transformer

@Suite struct InterruptionTests {
  private struct Stop: Error {}

  /// However far a pass has come: it throws, and leaves nothing behind that the next one would see.
  @Test(arguments: [Precision.int8, .f32]) func anInterruptedPassLeavesNoTrace(precision: Precision) throws {
    let rows = PackedRows.made(rows: 3, length: 40, vocabulary: 512)
    let bench = try Bench(tinyLlama, precision: precision, tokens: 120, rowLength: 40)
    let engine = bench.pass.engine
    var asked = 0
    engine.interruption = { asked += 1 }
    let loss = try bench.lossAndGradient(rows)
    let gradients = bench.gradients
    let whole = asked
    #expect(whole > 100, "asked again and again: \(whole) times")
    for end in stride(from: 1, to: whole, by: max(1, whole / 40)) {
      asked = 0
      engine.interruption = {
        asked += 1
        if asked == end { throw Stop() }
      }
      do {
        _ = try bench.lossAndGradient(rows)
        // Which thread takes a task is chance, and only one of them asks.
        #expect(asked < end)
      } catch is Stop {
        #expect(asked == end, "nothing more is asked before it throws")
      }
      engine.interruption = nil
      #expect(try bench.lossAndGradient(rows) == loss)
      #expect(bench.gradients == gradients)
    }
  }
}
