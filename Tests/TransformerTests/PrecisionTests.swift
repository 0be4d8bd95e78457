import Foundation
import Kernels
import Testing
import Transformer

/// The 8-bit path against the fp32 path, on trained weights.
struct PrecisionTests {
  /// Blocks of 64 with eight exact columns cost below half a per cent of loss, and turn the gradient by less than the
  /// noise between two batches.
  @Test func int8LossAndGradientStayNearTheReference() throws {
    let rows = PackedRows.made(rows: 4, length: 64, vocabulary: 1024, seed: 3)
    func run(_ precision: Precision) throws -> (loss: Double, gradients: [String: [Float]]) {
      let bench = try Bench(tinyLlama, precision: precision, tokens: 256, rowLength: 64)
      return (try bench.lossAndGradient(rows), bench.gradients)
    }
    let reference = try run(.f32)
    let int8 = try run(.int8)
    #expect(abs(int8.loss / reference.loss - 1) < 0.005, "loss \(int8.loss) against \(reference.loss)")
    let names = reference.gradients.keys.sorted()
    let whole = cosine(
      names.flatMap { int8.gradients[$0] ?? [] }, names.flatMap { reference.gradients[$0] ?? [] })
    #expect(whole > 0.99, "cosine \(whole)")
    for name in names {
      let angle = cosine(int8.gradients[name] ?? [], reference.gradients[name] ?? [])
      #expect(angle > 0.97, "\(name): cosine \(angle)")
    }
  }
}

/// Generation with a cache of keys and values.
struct GenerationTests {
  /// Attention over the cache sums in another order than over a whole sequence.
  @Test(arguments: variants) func cachedLogitsAreThoseOfTheWholePass(_ variant: String) throws {
    let folder = "\(golden)/\(variant)"
    let rows = PackedRows.made(rows: 1, length: 24, vocabulary: 64)
    let whole = try Bench(folder, adapter: "\(folder)/adapter", tokens: 24, rowLength: 24).logits(rows)
    let bench = try Bench(
      folder, adapter: "\(folder)/adapter", tokens: 8, rowLength: 24, cacheCapacity: 24)
    // A prompt in two pieces, then token by token.
    var start = 0
    for count in [8, 5] + [Int](repeating: 1, count: 11) {
      let part = Array(rows.tokens[start..<start + count])
      let logits = bench.model.extend(bench.cache, with: part, workspace: bench.workspace, pass: bench.pass).values
      start += count
      let worst = zip(logits, whole[start - 1]).map { abs($0 - $1) }.max() ?? 1
      #expect(worst < 2e-5, "after \(start) tokens: largest difference \(worst)")
    }
    #expect(bench.cache.length == 24)
  }

  @Test func aClearedCacheForgets() throws {
    let rows = PackedRows.made(rows: 1, length: 12, vocabulary: 1024)
    let bench = try Bench(tinyLlama, tokens: 12, rowLength: 12, cacheCapacity: 24)
    func read() -> [Float] {
      bench.model.extend(bench.cache, with: rows.tokens, workspace: bench.workspace, pass: bench.pass).values
    }
    let first = read()
    let second = read()
    bench.cache.removeAll()
    #expect(first == read())
    #expect(first != second)
  }
}
