import Foundation
import Kernels
import Testing
import Transformer

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

  /// Where a window is shorter than the text, new tokens take the places of those that it hides: the cache of such a layer
  /// is a ring, and its order does not matter.
  @Test(arguments: ["mistral-window", "phi3-window", "qwen2-window", "qwen3-window", "gemma3", "gemma3-options"])
  func aRingOfTheWindowIsAllThatALayerNeeds(_ variant: String) throws {
    let folder = "\(golden)/\(variant)"
    let rows = PackedRows.made(rows: 1, length: 40, vocabulary: 64, seed: 9)
    let whole = try Bench(folder, adapter: "\(folder)/adapter", tokens: 40, rowLength: 40).logits(rows)
    // A prompt that is longer than every window, in one piece, in pieces that are shorter, and token by token.
    for pieces in [[30, 1, 1, 8], [2, 3, 7, 11, 1, 16], [Int](repeating: 1, count: 40)] {
      let bench = try Bench(folder, adapter: "\(folder)/adapter", tokens: 30, rowLength: 40, cacheCapacity: 40)
      var start = 0
      for count in pieces {
        let part = Array(rows.tokens[start..<start + count])
        let logits = bench.model.extend(bench.cache, with: part, workspace: bench.workspace, pass: bench.pass).values
        start += count
        let worst = zip(logits, whole[start - 1]).map { abs($0 - $1) }.max() ?? 1
        #expect(worst < 2e-5, "after \(start) tokens in \(pieces): largest difference \(worst)")
      }
      #expect(start == 40 && bench.cache.length == 40)
    }
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
