import Deployment
import Formats
import Foundation
import Kernels
import Quantization
import Testing
import WeightStore

/// Which tensors of a `q4_k` file have which type: what llama.cpp's quantiser chooses for Q4_K_M.
@Suite struct ExportMixtureTests {
  /// Types by name of a random model's file.
  private func types(_ configuration: String, format: ExportFormat = .q4K) throws -> [String: GGMLType] {
    let tokenizer = """
      {"version": "1.0", "added_tokens": [{"id": 0, "content": "<s>", "special": true}],
       "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
       "model": {"type": "BPE", "vocab": {"<s>": 0, "a": 1, "b": 2, "ab": 3}, "merges": [["a", "b"]]}}
      """
    return try withTemporaryFolder { folder in
      let source = try ModelSource.random(
        configurationJSON: try JSONValue.parse(configuration, file: "config.json"), seed: 1,
        companions: [CompanionFile(name: "tokenizer.json", text: tokenizer)])
      let pool = ThreadPool(threadCount: 2)
      _ = try Quantizer(format: .f16, pool: pool).write(source, to: "\(folder)/model") { _, _ in }
      _ = try ModelExporter(pool: pool).export(
        modelDirectory: "\(folder)/model", adapter: nil, to: "\(folder)/out.gguf", format: format, force: false
      ) { _, _ in }
      let file = try GGUFFile(path: "\(folder)/out.gguf")
      #expect(file.metadata["general.file_type"] == .integer(format == .q4K ? 15 : 2))
      return Dictionary(uniqueKeysWithValues: file.tensors.map { ($0.name, $0.type) })
    }
  }

  private func configuration(_ family: String, hidden: Int, inner: Int, layers: Int, tied: Bool) -> String {
    let (name, type) = family == "phi3" ? ("Phi3ForCausalLM", "phi3") : ("LlamaForCausalLM", "llama")
    return """
      {"architectures": ["\(name)"], "model_type": "\(type)", "hidden_size": \(hidden), "intermediate_size": \(inner),
       "num_hidden_layers": \(layers), "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 67,
       "max_position_embeddings": 64, "original_max_position_embeddings": 64, "rms_norm_eps": 1e-5, "hidden_act": "silu",
       "rope_theta": 100.0, "tie_word_embeddings": \(tied), "bos_token_id": 0, "eos_token_id": 1}
      """
  }

  @Test func someLayersHaveMoreBits() throws {
    let types = try self.types(configuration("llama", hidden: 256, inner: 512, layers: 9, tied: true))
    for layer in 0..<9 {
      // The first eighth of 9 layers is one, the last one begins at 7.
      let more: GGMLType = [0, 3, 6, 7, 8].contains(layer) ? .q6K : .q4K
      #expect(types["blk.\(layer).attn_v.weight"] == more && types["blk.\(layer).ffn_down.weight"] == more, "\(layer)")
      for name in ["attn_q", "attn_k", "attn_output", "ffn_gate", "ffn_up"] {
        #expect(types["blk.\(layer).\(name).weight"] == .q4K, "\(layer) \(name)")
      }
      #expect(types["blk.\(layer).attn_norm.weight"] == .f32)
    }
    #expect(types["token_embd.weight"] == .q6K && types["output.weight"] == nil)
  }

  /// A head of its own takes the bits that the embedding has where it is the head.
  @Test func aFusedProjectionCountsAsValuesAndAHeadIsNoEmbedding() throws {
    let types = try self.types(configuration("phi3", hidden: 256, inner: 288, layers: 3, tied: false))
    #expect(types["output.weight"] == .q6K && types["token_embd.weight"] == .q4K)
    #expect((0..<3).map { types["blk.\($0).attn_qkv.weight"] } == [.q4K, .q4K, .q6K])
    // 288 is no multiple of 256.
    #expect((0..<3).map { types["blk.\($0).ffn_down.weight"] } == [.q50, .q50, .q80])
    #expect(types["blk.1.ffn_up.weight"] == .q4K)
  }

  @Test func narrowRowsHaveBlocksOf32() throws {
    let narrow = try self.types(configuration("llama", hidden: 96, inner: 160, layers: 2, tied: false))
    #expect(narrow["output.weight"] == .q80 && narrow["token_embd.weight"] == .q50)
    #expect(narrow["blk.0.attn_q.weight"] == .q50 && narrow["blk.0.ffn_down.weight"] == .q50)
    #expect(narrow["blk.1.attn_v.weight"] == .q80 && narrow["blk.1.ffn_down.weight"] == .q80)
  }

  @Test func plainFourBitsHaveAHeadOfEight() throws {
    let plain = try self.types(configuration("llama", hidden: 96, inner: 160, layers: 2, tied: true), format: .q40)
    #expect(plain["blk.1.ffn_down.weight"] == .q40 && plain["token_embd.weight"] == .q80)
  }
}
