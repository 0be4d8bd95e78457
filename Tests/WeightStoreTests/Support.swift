import Architectures
import Formats
import Foundation
import Kernels
import Quantization
import Testing
import WeightStore

/// The folder of golden vectors.
let golden = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden").path

/// A model of two layers.
let tinyConfiguration = """
  {"architectures": ["Qwen2ForCausalLM"], "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
   "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 128,
   "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": false, "dtype": "float16"}
  """

/// Runs `body` with a folder that is gone afterwards.
func withTemporaryFolder<T>(_ body: (String) throws -> T) throws -> T {
  let path = NSTemporaryDirectory() + "weight-store-\(UUID().uuidString)"
  try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(atPath: path) }
  return try body(path)
}

/// Bytes of a tensor.
func bytes(_ tensor: StoredTensor) -> [UInt8] { Array(tensor.bytes) }

/// All values of a matrix of a store, row by row.
func values(_ store: WeightStore, _ name: String, rows: Int, columns: Int) throws -> [Float] {
  // A matrix is a view: the store keeps the file mapped.
  try withExtendedLifetime(store) {
    let matrix = try store.matrix(name, rows: rows, columns: columns)
    var result = [Float](repeating: 0, count: rows * columns)
    result.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return }
      matrix.decode(rows: 0..<rows, into: Matrix(base, rows: rows, columns: columns))
    }
    return result
  }
}

extension WeightStore {
  /// The matrix of a linear layer, described by its stem.
  func matrix(_ stem: String, rows: Int, columns: Int) throws -> StoredMatrix {
    try matrix(TensorDescription("\(stem).weight", shape: [rows, columns], role: .linear))
  }

  /// A norm's weights or a bias.
  func vector(_ name: String, count: Int) throws -> [Float] {
    try vector(TensorDescription(name, shape: [count], role: .vector))
  }
}

extension ModelSource {
  /// What the model's description calls so.
  func tensor(named name: String) throws -> SourceTensor {
    try tensor(try #require(description.tensors.first { $0.name == name }, "the model has a weight \(name)"))
  }
}

/// All values of a source's tensor.
func values(_ tensor: SourceTensor) -> [Float] {
  var result = [Float](repeating: 0, count: tensor.rows * tensor.columns)
  result.withUnsafeMutableBufferPointer { tensor.fill(0..<tensor.rows, $0) }
  return result
}

/// The text of the error that `body` throws.
func message(_ body: () throws -> Void) -> String {
  do {
    try body()
    return "nothing was thrown"
  } catch {
    return "\(error)"
  }
}

/// A pool that is never freed: its workers refer to it for as long as the process runs.
func immortalPool(threadCount: Int) -> ThreadPool {
  Unmanaged.passRetained(ThreadPool(threadCount: threadCount)).takeUnretainedValue()
}
