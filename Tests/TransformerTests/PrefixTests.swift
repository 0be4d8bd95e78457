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

  /// What a layer makes of a text is seen in the values of the next one.
  @Test func aLayerThatIsLeftOutSeesNoPrefix() throws {
    let (without, all, second) = (try values(nil), try values([]), try values([0]))
    try #require(without.count == 2 && without[1].count > 12)
    #expect(all[0] == without[0] && relativeError(all[1], without[1]) > 1e-2)
    #expect(second == without)
  }
}
