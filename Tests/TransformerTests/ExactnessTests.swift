import Adapters
import Foundation
import Testing
import Transformer

/// What must not change a single bit.
struct ExactnessTests {
  @Test(arguments: Precision.allCases, [0, 1, 3]) func recomputationGivesTheBitsOfKeptActivations(
    _ precision: Precision, keptLayers: Int
  ) throws {
    let rows = PackedRows.made(rows: 2, length: 48, vocabulary: 1024)
    func run(_ kept: Int) throws -> (loss: Double, gradients: [String: [Float]]) {
      let bench = try Bench(tinyLlama, precision: precision, tokens: 96, rowLength: 48, keptLayers: kept)
      return (bench.lossAndGradient(rows), bench.gradients)
    }
    let kept = try run(4)
    let recomputed = try run(keptLayers)
    #expect(kept.loss == recomputed.loss)
    #expect(kept.gradients == recomputed.gradients)
  }

  @Test(arguments: Precision.allCases) func dropoutIsTheSameWhenALayerIsRecomputed(_ precision: Precision) throws {
    let rows = PackedRows.made(rows: 1, length: 32, vocabulary: 1024)
    let configuration = LowRankConfiguration(rank: 4, dropout: 0.3, targetModules: .allLinear)
    func run(_ kept: Int, _ configuration: LowRankConfiguration) throws -> [String: [Float]] {
      let bench = try Bench(
        tinyLlama, configuration: configuration, precision: precision, tokens: 32, rowLength: 32, keptLayers: kept)
      _ = bench.lossAndGradient(rows)
      return bench.gradients
    }
    let kept = try run(4, configuration)
    #expect(try kept == run(0, configuration))
    #expect(try kept != run(4, LowRankConfiguration(rank: 4, targetModules: .allLinear)))
  }

  @Test(arguments: Precision.allCases) func threadCountsGiveTheSameBits(_ precision: Precision) throws {
    let rows = PackedRows.made(rows: 3, length: 50, vocabulary: 1024)
    let results = try [1, 2, 3, 7].map { threads in
      let bench = try Bench(tinyLlama, precision: precision, threads: threads, tokens: 150, rowLength: 50)
      return (loss: bench.lossAndGradient(rows), gradients: bench.gradients, logits: bench.logits(rows))
    }
    for other in results.dropFirst() {
      #expect(other.loss == results[0].loss)
      #expect(other.gradients == results[0].gradients)
      #expect(other.logits == results[0].logits)
    }
  }

  @Test(arguments: Precision.allCases) func lossWithoutGradientIsTheLossOfTraining(_ precision: Precision) throws {
    let rows = PackedRows.made(rows: 2, length: 40, vocabulary: 1024)
    let bench = try Bench(tinyLlama, precision: precision, tokens: 80, rowLength: 40)
    #expect(bench.loss(rows) == bench.lossAndGradient(rows))
  }

  /// What stands in other samples of a row must not reach a sample: with fp32 products no bit of it.
  @Test func packedSamplesDoNotSeeEachOther() throws {
    let made = PackedRows.made(rows: 3, length: 20, vocabulary: 1024)
    let samples = made.places.map { (tokens: Array(made.tokens[$0]), labels: Array(made.tokens[$0])) }
    let bench = try Bench(tinyLlama, tokens: 60, rowLength: 40)
    let packed = PackedRows([[samples[0], samples[1]]], rowLength: 40)
    let others = PackedRows([[samples[2], samples[1]]], rowLength: 40)
    let first = bench.logits(packed)
    let second = bench.logits(others)
    #expect(Array(first[20..<40]) == Array(second[20..<40]))
    #expect(Array(first[0..<20]) != Array(second[0..<20]))
    // A row of its own has other shapes of products, so sums may be ordered differently.
    let alone = bench.logits(PackedRows([[samples[1]]], rowLength: 20))
    let worst = zip(first[20..<40].joined(), alone.joined()).map { abs($0 - $1) }.max() ?? 1
    #expect(worst < 1e-4, "largest difference \(worst)")
  }

  /// With 8-bit products a row may choose its exact columns; other rows must still not matter.
  @Test func rowsOfABatchDoNotSeeEachOther() throws {
    let made = PackedRows.made(rows: 3, length: 24, vocabulary: 1024)
    let samples = made.places.map { (tokens: Array(made.tokens[$0]), labels: Array(made.tokens[$0])) }
    let bench = try Bench(tinyLlama, precision: .int8, tokens: 48, rowLength: 24)
    let first = bench.logits(PackedRows([[samples[0]], [samples[1]]], rowLength: 24))
    let second = bench.logits(PackedRows([[samples[2]], [samples[1]]], rowLength: 24))
    let alone = bench.logits(PackedRows([[samples[1]]], rowLength: 24))
    #expect(Array(first[24..<48]) == Array(second[24..<48]))
    #expect(Array(first[24..<48]) == alone)
  }

  @Test func laterTokensDoNotReachEarlierOnes() throws {
    var rows = PackedRows.made(rows: 1, length: 30, vocabulary: 1024)
    let bench = try Bench(tinyLlama, tokens: 30, rowLength: 30)
    let before = bench.logits(rows)
    rows.tokens[20] = (rows.tokens[20] + 1) % 1024
    let after = bench.logits(rows)
    #expect(Array(before[0..<20]) == Array(after[0..<20]))
    #expect(before[20] != after[20])
  }
}
