import Deployment
import Foundation
import Kernels
import Testing
import Transformer

/// Several texts that are written at once.
struct TextsTogetherTests {
  /// A family each of what the blocks of decoders can be: gates, biases, learned positions, windows, both blocks side by side.
  private static let variants = ["llama", "qwen2-bias", "qwen3-window", "gemma3", "phi3", "gpt2", "opt-350m", "neox"]

  /// Each of five texts of different lengths has the logits that it has without the others, to the bit.
  @Test(arguments: variants) func eachHasTheLogitsThatItHasAlone(_ variant: String) throws {
    try withTemporaryFolder { folder in
      // The golden models have no tokenizer.
      let model = "\(folder)/model"
      try FileManager.default.copyItem(atPath: golden(variant), toPath: model)
      try FileManager.default.copyItem(atPath: "\(tinyLlama)/tokenizer.json", toPath: "\(model)/tokenizer.json")
      try compare(try LoadedModel(directory: model, adapter: "\(model)/adapter", precision: .int8, threads: 2))
    }
  }

  @Test func soDoThoseOfATrainedModel() throws {
    try compare(try LoadedModel(directory: tinyLlama, adapter: nil, precision: .int8, threads: 2))
  }

  private func compare(_ loaded: LoadedModel) throws {
    let prompts = (0..<5).map { text -> [Int32] in
      let (first, length) = (11 * text, 3 + 4 * text)
      return (0..<length).map { Int32((7 * $0 + first) % 60) }
    }
    let (workspace, pass, arena, caches) = try loaded.makeServing(slots: 5, contextLength: 32, chunk: 20) { $0 }
    func begin() {
      for (cache, prompt) in zip(caches, prompts) {
        cache.removeAll()
        _ = loaded.model.extend(cache, with: prompt, workspace: workspace, pass: pass)
      }
    }
    let next: [[Int32]] = [[1, 2, 3, 4, 5], [9, 9, 9, 9, 9], [40, 30, 20, 10, 0]]
    begin()
    let alone = next.map { tokens in
      caches.indices.map { text in
        loaded.model.extend(caches[text], with: [tokens[text]], workspace: workspace, pass: pass).values
      }
    }
    begin()
    for (step, tokens) in next.enumerated() {
      let logits = loaded.model.extend(caches, with: tokens, workspace: workspace, pass: pass)
      for text in caches.indices { #expect(logits.row(text).values == alone[step][text], "text \(text)") }
    }
    withExtendedLifetime(arena) {}
  }
}
