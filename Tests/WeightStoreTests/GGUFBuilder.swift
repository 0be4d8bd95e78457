import Foundation

/// A small Llama of zeros as GGUF, for tests of its metadata.
struct GGUFBuilder {
  enum Value {
    case integer(UInt32)
    case number(Float)
    case text(String)
  }

  var metadata: [(key: String, value: Value)] = [
    ("general.architecture", .text("llama")), ("llama.context_length", .integer(64)),
    ("llama.embedding_length", .integer(32)), ("llama.block_count", .integer(1)),
    ("llama.feed_forward_length", .integer(64)), ("llama.attention.head_count", .integer(2)),
    ("llama.attention.head_count_kv", .integer(1)), ("llama.attention.layer_norm_rms_epsilon", .number(1e-5)),
    ("tokenizer.ggml.model", .text("llama")),
  ]
  /// Outermost dimension first.
  var tensors: [(name: String, shape: [Int])] = [
    ("token_embd.weight", [40, 32]), ("output_norm.weight", [32]), ("blk.0.attn_norm.weight", [32]),
    ("blk.0.ffn_norm.weight", [32]), ("blk.0.attn_q.weight", [32, 32]), ("blk.0.attn_k.weight", [16, 32]),
    ("blk.0.attn_v.weight", [16, 32]), ("blk.0.attn_output.weight", [32, 32]), ("blk.0.ffn_gate.weight", [64, 32]),
    ("blk.0.ffn_up.weight", [64, 32]), ("blk.0.ffn_down.weight", [32, 64]),
  ]
  /// What all numbers of a tensor are, other than 0.
  var fills: [String: Float] = [:]

  func write(to path: String) throws {
    var data = Data("GGUF".utf8)
    func add<T: FixedWidthInteger>(_ value: T) {
      withUnsafeBytes(of: value.littleEndian) { data.append(contentsOf: $0) }
    }
    func add(_ text: String) {
      add(UInt64(text.utf8.count))
      data.append(contentsOf: text.utf8)
    }
    add(UInt32(3))
    add(UInt64(tensors.count))
    add(UInt64(metadata.count + 3))
    for (key, value) in metadata {
      add(key)
      switch value {
      case .integer(let number):
        add(UInt32(4))
        add(number)
      case .number(let number):
        add(UInt32(6))
        add(number.bitPattern)
      case .text(let text):
        add(UInt32(8))
        add(text)
      }
    }
    func array(_ key: String, type: UInt32, _ element: (Int) -> Void) {
      add(key)
      add(UInt32(9))
      add(type)
      add(UInt64(40))
      for index in 0..<40 { element(index) }
    }
    array("tokenizer.ggml.tokens", type: 8) { add($0 == 0 ? "<unk>" : $0 == 1 ? "<s>" : "t\($0)") }
    array("tokenizer.ggml.scores", type: 6) { add(Float(-$0).bitPattern) }
    array("tokenizer.ggml.token_type", type: 5) { add(Int32($0 == 0 ? 2 : $0 == 1 ? 3 : 1)) }
    var offset = 0
    for (name, shape) in tensors {
      add(name)
      add(UInt32(shape.count))
      for size in shape.reversed() { add(UInt64(size)) }
      add(UInt32(0))
      add(UInt64(offset))
      offset += shape.reduce(4, *)
    }
    data.append(contentsOf: [UInt8](repeating: 0, count: (32 - data.count % 32) % 32))
    for (name, shape) in tensors { for _ in 0..<shape.reduce(1, *) { add((fills[name] ?? 0).bitPattern) } }
    try data.write(to: URL(fileURLWithPath: path))
  }
}
