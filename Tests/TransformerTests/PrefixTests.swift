import Testing
import Transformer
import Tuning

/// Prefixes in some layers; in all of them `Tools/check-methods` compares them with PEFT's.
struct PrefixTests {
  /// Values of each layer of a text, `[tokens, heads * head size]`.
  ///
  /// - Parameter leaveOut: layers without a prefix; `nil` takes it away from all
  private func values(_ leaveOut: [Int]?) throws -> [[Float]] {
    var configuration = PrefixConfiguration(count: 3)
    configuration.leaveOut = leaveOut ?? []
    let bench = try Bench("\(golden)/llama", configuration: configuration, tokens: 12, rowLength: 12)
    for entry in bench.method.trainables.entries {
      entry.assign((0..<entry.count).map { Float(($0 * 37) % 23 - 11) / 11 })
    }
    if leaveOut == nil { bench.model.removeHooks() }
    var found: [[Float]] = []
    let text = (1...12).map { Int32($0) }
    bench.model.keysAndValues(of: text, workspace: bench.workspace, pass: bench.pass) { _, _, value in
      found.append((0..<value.rows).flatMap { value.matrix.row($0).values })
    }
    return found
  }

  /// Beside a serial and a parallel bottleneck, all three in some layers.
  @Test(arguments: ["llama", "gpt2"]) func cachedLogitsAreThoseOfTheWholePass(_ model: String) throws {
    var prefix = PrefixConfiguration(count: 3)
    prefix.leaveOut = [1]
    let serial = BottleneckConfiguration(kind: .doubleSequential, reductionFactor: 4, leaveOut: [0])
    let parallel = BottleneckConfiguration(kind: .parallel, reductionFactor: 8, leaveOut: [0], name: "parallel")
    let configuration = CombinedConfiguration(
      BottleneckConfiguration.together(serial: serial, parallel: parallel)
        + [.init(name: "prefix_tuning", configuration: prefix)])
    func bench(tokens: Int, cache: Int? = nil) throws -> Bench {
      let bench = try Bench(
        "\(golden)/\(model)", configuration: configuration, tokens: tokens, rowLength: 20, cacheCapacity: cache)
      for (index, entry) in bench.method.trainables.entries.enumerated() {
        entry.assign((0..<entry.count).map { Float(($0 * 37 + index * 11) % 23 - 11) / 55 })
      }
      return bench
    }
    let rows = PackedRows.made(rows: 1, length: 20, vocabulary: 64)
    let whole = try bench(tokens: 20).logits(rows)
    let generating = try bench(tokens: 8, cache: 20)
    // A prompt in two pieces, then token by token.
    var start = 0
    for count in [8, 5] + [Int](repeating: 1, count: 7) {
      let part = Array(rows.tokens[start..<start + count])
      let found = generating.model.extend(
        generating.cache, with: part, workspace: generating.workspace, pass: generating.pass
      ).values
      start += count
      let worst = zip(found, whole[start - 1]).map { abs($0 - $1) }.max() ?? 1
      #expect(worst < 2e-5, "after \(start) tokens: largest difference \(worst)")
    }
  }

  /// What a layer makes of a text is seen in the values of the next one.
  @Test func aLayerThatIsLeftOutSeesNoPrefix() throws {
    let (without, all, second) = (try values(nil), try values([]), try values([0]))
    try #require(without.count == 2 && without[1].count > 12)
    #expect(all[0] == without[0] && relativeError(all[1], without[1]) > 1e-2)
    #expect(second == without)
  }
}
