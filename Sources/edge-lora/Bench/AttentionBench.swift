import Dispatch
import Formats
import Kernels

/// Attention forward and backward of one sample, next to the fp32 ceiling of the same run: part of `bench kernels`.
struct AttentionBench {
  let shape: AttentionShape
  let length: Int
  private let query: Buffer
  private let key: Buffer
  private let value: Buffer
  private let output: Buffer
  private let gradients: [Buffer]
  private let kept: Attention.Kept
  private let keptMemory: [Buffer]
  private let memory: [Buffer]
  private let pool: ThreadPool

  /// Speeds, in operations per second.
  struct Result {
    let model: String
    let length: Int
    let ceiling: Double
    let forward: Double
    let backward: Double
    let both: Double

    private func fraction(_ speed: Double) -> Double { ceiling > 0 ? speed / ceiling : 0 }

    var json: JSONValue {
      .object(
        JSONObject([
          ("model", .string(model)), ("tokens", .integer(length)), ("ceiling_gflops", .number(ceiling * 1e-9)),
          ("forward_gflops", .number(forward * 1e-9)), ("forward_fraction", .number(fraction(forward))),
          ("backward_gflops", .number(backward * 1e-9)), ("backward_fraction", .number(fraction(backward))),
          ("gflops", .number(both * 1e-9)), ("fraction", .number(fraction(both))),
        ]))
    }

    /// For a table: model, tokens, and each speed with its share of the ceiling.
    var cells: [String] {
      [model, "\(length)"]
        + [forward, backward, both].flatMap { speed in
          [Console.decimal(speed * 1e-9, 1), "\(Int((fraction(speed) * 100).rounded())) %"]
        }
    }
  }

  init(shape: AttentionShape, length: Int, pool: ThreadPool) {
    (self.shape, self.length, self.pool) = (shape, length, pool)
    let (width, shared) = (shape.headCount * shape.headSize, shape.keyValueHeadCount * shape.headSize)
    (query, output) = (.floats(rows: length, columns: width), .floats(rows: length, columns: width))
    (key, value) = (.floats(rows: length, columns: shared), .floats(rows: length, columns: shared))
    gradients = [width, shared, shared, width].map { .floats(rows: length, columns: $0) }
    let perToken = Attention.weightsPerToken(shape: shape, length: length)
    let sums = Buffer.floats(rows: shape.headCount, columns: length)
    let weights = Buffer(KeptMatrix.byteCount(rows: length, columns: perToken, format: .f16))
    keptMemory = [sums, weights]
    kept = Attention.Kept(
      sums: sums.matrix.elements, weights: KeptMatrix(weights.base, rows: length, columns: perToken, format: .f16))
    let bytes = Attention.scratchByteCount(shape: shape, length: length, hasGradient: true)
    memory = (0..<pool.threadCount).map { _ in Buffer(bytes) }
  }

  private func heads(_ buffer: Buffer) -> HeadMatrix { HeadMatrix(buffer.matrix, size: shape.headSize) }

  private func forward() {
    Attention.forward(
      query: heads(query), key: heads(key), value: heads(value), shape: shape, segments: [0, length],
      into: output.matrix, keeping: kept, isExact: false, pool: pool, scratch: memory.map(\.scratch))
  }

  /// Spends the queries: they are made-up numbers before and after.
  private func backward() {
    Attention.backward(
      gradients[3].matrix, query: heads(query), key: heads(key), value: heads(value), shape: shape,
      segments: [0, length], kept: kept, dQuery: heads(gradients[0]), dKey: heads(gradients[1]),
      dValue: heads(gradients[2]), isExact: false, pool: pool, scratch: memory.map(\.scratch))
  }

  /// Medians. Two products forward and five back, over the half of the square that a causal mask leaves; the ceiling is
  /// measured in each repetition, because the clock of a processor changes, and its best counts.
  func measure(model: String, repetitions: Int) -> Result {
    let product = Double(length) * Double(length + 1) * Double(shape.headSize * shape.headCount)
    var times: (forward: [Double], backward: [Double], both: [Double]) = ([], [], [])
    var ceiling = 0.0
    for repetition in 0...repetitions {
      fill()
      ceiling = max(ceiling, MachineCeiling.fp32(pool: pool, seconds: 0.004))
      let start = DispatchTime.now().uptimeNanoseconds
      forward()
      let middle = DispatchTime.now().uptimeNanoseconds
      backward()
      let end = DispatchTime.now().uptimeNanoseconds
      if repetition == 0 { continue }  // caches and pages are not warm yet
      times.forward.append(Double(middle - start) * 1e-9)
      times.backward.append(Double(end - middle) * 1e-9)
      times.both.append(Double(end - start) * 1e-9)
    }
    func speed(_ products: Double, _ times: [Double]) -> Double { products * product / times.sorted()[times.count / 2] }
    return Result(
      model: model, length: length, ceiling: ceiling, forward: speed(2, times.forward),
      backward: speed(5, times.backward), both: speed(7, times.both))
  }

  /// Numbers like those of a model: gradients that have been through many steps would be none.
  private func fill() {
    for buffer in [query, gradients[3]] { buffer.refill() }
  }
}
