import Formats
import Kernels
import WeightStore

/// Writes the weights of a store tensor by tensor from rows of floats, a chunk of rows at a time.
final class StoreWriter {
  private let writer: SafetensorsWriter
  private let linear: () -> any WeightEncoder
  private let embedding: () -> any WeightEncoder
  private let plain: () -> any WeightEncoder
  private let pool: ThreadPool
  private let progress: (_ elements: Int) throws -> Void
  private(set) var report = QuantizationReport()
  /// Floats of one chunk: small beside the memory that quantising may take.
  private static let chunkElements = 1 << 21

  /// - Parameters:
  ///   - isBrain: whether unquantised tensors are bfloat16, not half precision
  ///   - progress: is told the elements of each chunk that has been written
  init(
    path: String, tensorCount: Int, format: StoreFormat, int8Embeddings: Bool, isBrain: Bool, pool: ThreadPool,
    progress: @escaping (_ elements: Int) throws -> Void
  ) throws {
    writer = try SafetensorsWriter(
      path: path,
      headerByteCount: SafetensorsWriter.headerByteCount(tensors: tensorCount * 6, longestName: 100))
    plain = { HalfEncoder(isBrain: isBrain) }
    embedding = { if int8Embeddings { Int8Encoder() } else { HalfEncoder(isBrain: isBrain) } }
    linear = {
      switch format {
      case .nf4(let doubleQuantization): NF4Encoder(doubleQuantization: doubleQuantization)
      case .int8: Int8Encoder()
      case .int4(let groupSize): Int4Encoder(groupSize: groupSize)
      case .f16, .bf16: HalfEncoder(isBrain: isBrain)
      }
    }
    self.pool = pool
    self.progress = progress
  }

  func finish() throws {
    for part in trailing { try write(part) }
    try writer.finish()
  }

  /// Byte tensors of any length go to the end of the file, so that all others stay aligned.
  private var trailing: [EncodedPart] = []

  /// Norms, biases and positions: in the type of the embedding, because transformers gives a bitsandbytes checkpoint's
  /// tensors the types they have in the file, and fp32 norms before a half-precision head do not run.
  func writePlain(_ tensor: SourceTensor) throws { try write(tensor, plain()) }

  /// The embedding or the vocabulary head.
  func writeEmbedding(_ tensor: SourceTensor) throws { try write(tensor, embedding()) }

  /// A linear layer.
  ///
  /// - Parameter isTransposed: whether rows and columns are exchanged where it is not quantised
  func writeLinear(_ tensor: SourceTensor, isTransposed: Bool) throws {
    let encoder = linear()
    if isTransposed, encoder is HalfEncoder {
      try writeTransposed(tensor, encoder)
    } else {
      try write(tensor, encoder)
    }
  }

  private func write(_ part: EncodedPart) throws {
    try writer.begin(.init(name: part.name, elementType: part.elementType, shape: part.shape))
    try writer.append(part.bytes)
  }

  private func write(_ tensor: SourceTensor, _ encoder: any WeightEncoder) throws {
    let codes = encoder.codes(of: tensor)
    try writer.begin(codes)
    var sums = ErrorSums()
    try forEachChunk(tensor) { rows, values in
      let chunk = try encode(tensor, rows, values, encoder)
      sums += chunk.sums
      try writer.append(chunk.bytes)
    }
    var byteCount = codes.byteCount
    for part in encoder.parts(of: tensor) {
      byteCount += part.bytes.count
      if part.isTrailing { trailing.append(part) } else { try write(part) }
    }
    add(tensor, format: encoder.name, byteCount: byteCount, sums)
  }

  /// The same with rows and columns exchanged; the whole weight is in memory: GPT-2's are small.
  private func writeTransposed(_ tensor: SourceTensor, _ encoder: any WeightEncoder) throws {
    let codes = encoder.codes(of: tensor)
    var sums = ErrorSums()
    var all: [UInt8] = []
    try forEachChunk(tensor) { rows, values in
      let chunk = try encode(tensor, rows, values, encoder)
      sums += chunk.sums
      all += chunk.bytes
    }
    try writer.begin(.init(name: codes.name, elementType: codes.elementType, shape: codes.shape.reversed()))
    let size = codes.elementType.byteCount
    for column in 0..<tensor.columns {
      try writer.append(
        (0..<tensor.rows).flatMap { row in
          let place = (row * tensor.columns + column) * size
          return all[place..<place + size]
        })
    }
    add(tensor, format: encoder.name, byteCount: codes.byteCount, sums)
  }

  private func encode(
    _ tensor: SourceTensor, _ rows: Range<Int>, _ values: UnsafeBufferPointer<Float>, _ encoder: any WeightEncoder
  ) throws -> EncodedChunk {
    let chunk = encoder.encode(values, columns: tensor.columns, pool: pool)
    // An element that overflows has an infinite error.
    guard chunk.sums.error.isFinite else {
      let largest = values.indices.max { values[$0].magnitude < values[$1].magnitude } ?? 0
      throw NotFinite(
        tensor: tensor.name, row: rows.lowerBound + largest / tensor.columns, stored: encoder.name.uppercased())
    }
    return chunk
  }

  private func add(_ tensor: SourceTensor, format: String, byteCount: Int, _ sums: ErrorSums) {
    let parts = tensor.name.split(separator: ".")
    let kind = parts.count > 1 ? String(parts[parts.count - 2]) : tensor.name
    report.add(
      kind: kind, format: format, elements: tensor.rows * tensor.columns, byteCount: byteCount,
      error: sums.squares > 0 ? (sums.error / sums.squares).squareRoot() : 0)
  }

  /// A weight without a usable value.
  struct NotFinite: Error {
    let tensor: String
    let row: Int
    /// What it would have become, if the source itself is finite.
    let stored: String?

    var reason: String {
      stored.map {
        "tensor \(tensor), row \(row) has a value too large for \($0)"
          + ($0 == "BF16" ? "" : "; --format bf16 takes it")
      }
        ?? "tensor \(tensor), row \(row) holds a value that is not finite; the checkpoint is damaged"
    }
  }

  /// Runs `body` over chunks of rows; each lets go of the source's memory, so that a tensor may be of any size.
  private func forEachChunk(
    _ tensor: SourceTensor, _ body: (_ rows: Range<Int>, _ values: UnsafeBufferPointer<Float>) throws -> Void
  ) throws {
    // Whole multiples of 64 rows: blocks of 64 elements never straddle two chunks.
    let rows = max(64, Self.chunkElements / tensor.columns / 64 * 64)
    var values = [Float](repeating: 0, count: min(rows, tensor.rows) * tensor.columns)
    for start in stride(from: 0, to: tensor.rows, by: rows) {
      let range = start..<min(start + rows, tensor.rows)
      try values.withUnsafeMutableBufferPointer { buffer in
        let part = UnsafeMutableBufferPointer(rebasing: buffer[0..<range.count * tensor.columns])
        let columns = tensor.columns
        let tile = 16
        let target = SharedBuffer(part)
        let tasks = (range.count + tile - 1) / tile
        var damaged = [Int?](repeating: nil, count: tasks)
        damaged.withUnsafeMutableBufferPointer { damaged in
          let damaged = SharedBuffer(damaged)
          pool.run(tasks) { task, _ in
            let rows = range.lowerBound + task * tile..<min(range.lowerBound + (task + 1) * tile, range.upperBound)
            let offset = (rows.lowerBound - range.lowerBound) * columns
            let values = UnsafeMutableBufferPointer(
              rebasing: target.buffer[offset..<offset + rows.count * columns])
            tensor.fill(rows, values)
            damaged.buffer[task] = values.firstIndex { !$0.isFinite }.map { rows.lowerBound + $0 / columns }
          }
        }
        if let row = damaged.lazy.compactMap({ $0 }).first {
          throw NotFinite(tensor: tensor.name, row: row, stored: nil)
        }
        try body(range, UnsafeBufferPointer(part))
      }
      tensor.release()
      try progress(range.count * tensor.columns)
    }
  }
}
