import Formats
import Kernels

/// Writes the weights of a store tensor by tensor from rows of floats, a chunk of rows at a time.
final class StoreWriter {
  private let writer: SafetensorsWriter
  private let format: StoreFormat
  private let int8Embeddings: Bool
  private let isBrain: Bool
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
    self.format = format
    self.int8Embeddings = int8Embeddings
    self.isBrain = isBrain
    self.pool = pool
    self.progress = progress
  }

  func finish() throws {
    for tensor in trailing { try writer.write(tensor.name, .u8, shape: [tensor.bytes.count], tensor.bytes) }
    try writer.finish()
  }

  /// Byte tensors of any length go to the end of the file, so that all others stay aligned.
  private var trailing: [(name: String, bytes: [UInt8])] = []

  /// Norms, biases and positions: in the type of the embedding, because transformers gives a bitsandbytes checkpoint's
  /// tensors the types they have in the file, and fp32 norms before a half-precision head do not run.
  func writePlain(_ tensor: SourceTensor) throws { try writeHalf(tensor) }

  /// The embedding or the vocabulary head.
  func writeEmbedding(_ tensor: SourceTensor) throws {
    if int8Embeddings { try writeInt8(tensor) } else { try writeHalf(tensor) }
  }

  /// A linear layer.
  ///
  /// - Parameter isTransposed: whether rows and columns are exchanged where it is not quantised
  func writeLinear(_ tensor: SourceTensor, isTransposed: Bool) throws {
    switch format {
    case .nf4(let doubleQuantization): try writeNF4(tensor, doubleQuantization: doubleQuantization)
    case .int8: try writeInt8(tensor)
    case .int4(let groupSize): try writeInt4(tensor, groupSize: groupSize)
    case .f16: try writeHalf(tensor, isTransposed: isTransposed)
    }
  }

  private func add(
    _ tensor: SourceTensor, format: String, byteCount: Int, squaredError: Double, squares: Double
  ) {
    let parts = tensor.name.split(separator: ".")
    let kind = parts.count > 1 ? String(parts[parts.count - 2]) : tensor.name
    report.add(
      kind: kind, format: format, elements: tensor.rows * tensor.columns, byteCount: byteCount,
      error: squares > 0 ? (squaredError / squares).squareRoot() : 0)
  }

  /// A weight without a usable value.
  struct NotFinite: Error {
    let tensor: String
    let row: Int
    /// What it would have become, if the source itself is finite.
    let stored: String?

    var reason: String {
      stored.map { "tensor \(tensor), row \(row) has a value too large for \($0)" }
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

  /// 16-bit floats. With rows and columns exchanged the whole weight is in memory: GPT-2's are small.
  private func writeHalf(_ tensor: SourceTensor, isTransposed: Bool = false) throws {
    let isBrain = isBrain
    let shape = isTransposed ? tensor.shape.reversed() : tensor.shape
    try writer.begin(.init(name: tensor.name, elementType: isBrain ? .bf16 : .f16, shape: shape))
    var sums = ErrorSums()
    var all: [UInt16] = []
    try forEachChunk(tensor) { rows, values in
      let columns = tensor.columns
      var bits = [UInt16](repeating: 0, count: values.count)
      let input = SharedBuffer(UnsafeMutableBufferPointer(mutating: values))
      let chunk = bits.withUnsafeMutableBufferPointer { bits in
        let bits = SharedBuffer(bits)
        return parallelRows(rows.count) { row in
          let range = row * columns..<(row + 1) * columns
          for index in range {
            bits.buffer[index] =
              isBrain ? HalfPrecision.brainBits(input.buffer[index]) : HalfPrecision.bits(input.buffer[index])
          }
          return ErrorSums(UnsafeBufferPointer(rebasing: input.buffer[range])) {
            let stored = bits.buffer[range.lowerBound + $0]
            return isBrain ? Float(bitPattern: UInt32(stored) << 16) : HalfPrecision.float(stored)
          }
        }
      }
      // An element that overflows has an infinite error.
      if !chunk.error.isFinite {
        throw NotFinite(tensor: tensor.name, row: rows.lowerBound, stored: isBrain ? "BF16" : "F16")
      }
      sums += chunk
      if isTransposed { all += bits } else { try writer.append(bits) }
    }
    if isTransposed {
      for column in 0..<tensor.columns {
        try writer.append((0..<tensor.rows).map { all[$0 * tensor.columns + column] })
      }
    }
    add(
      tensor, format: isBrain ? "bf16" : "f16", byteCount: tensor.rows * tensor.columns * 2, squaredError: sums.error,
      squares: sums.squares)
  }

  private func writeInt8(_ tensor: SourceTensor) throws {
    try writer.begin(.init(name: tensor.name, elementType: .i8, shape: tensor.shape))
    var scales: [Float] = []
    var sums = ErrorSums()
    try forEachChunk(tensor) { rows, values in
      let columns = tensor.columns
      var codes = [Int8](repeating: 0, count: values.count)
      var chunkScales = [Float](repeating: 0, count: rows.count)
      let input = SharedBuffer(UnsafeMutableBufferPointer(mutating: values))
      sums += codes.withUnsafeMutableBufferPointer { codes in
        chunkScales.withUnsafeMutableBufferPointer { scales in
          let codes = SharedBuffer(codes)
          let scales = SharedBuffer(scales)
          return parallelRows(rows.count) { row in
            let part = UnsafeBufferPointer(rebasing: input.buffer[row * columns..<(row + 1) * columns])
            let out = UnsafeMutableBufferPointer(rebasing: codes.buffer[row * columns..<(row + 1) * columns])
            scales.buffer[row] = Int8Codec.quantize(part, codes: out)
            let scale = scales.buffer[row]
            return ErrorSums(part) { Float(out[$0]) * scale }
          }
        }
      }
      try writer.append(codes)
      scales += chunkScales
    }
    try writer.write("\(tensor.name)_scale", .f32, shape: [tensor.rows, 1], scales)
    add(
      tensor, format: "int8", byteCount: tensor.rows * (tensor.columns + 4), squaredError: sums.error,
      squares: sums.squares)
  }

  private func writeInt4(_ tensor: SourceTensor, groupSize: Int) throws {
    let stem = tensor.name.dropLast(".weight".count)
    let groups = tensor.columns / groupSize
    try writer.begin(
      .init(name: "\(stem).weight_packed", elementType: .i32, shape: [tensor.rows, tensor.columns / 8]))
    var scales: [UInt16] = []
    var sums = ErrorSums()
    try forEachChunk(tensor) { rows, values in
      let columns = tensor.columns
      var packed = [UInt32](repeating: 0, count: values.count / 8)
      var chunkScales = [UInt16](repeating: 0, count: rows.count * groups)
      let input = SharedBuffer(UnsafeMutableBufferPointer(mutating: values))
      sums += packed.withUnsafeMutableBufferPointer { packed in
        chunkScales.withUnsafeMutableBufferPointer { scales in
          let packed = SharedBuffer(packed)
          let scales = SharedBuffer(scales)
          return parallelRows(rows.count) { row in
            var codes = [Int8](repeating: 0, count: columns)
            let part = UnsafeBufferPointer(rebasing: input.buffer[row * columns..<(row + 1) * columns])
            return codes.withUnsafeMutableBufferPointer { codes in
              for group in 0..<groups {
                let range = group * groupSize..<(group + 1) * groupSize
                scales.buffer[row * groups + group] = Int4Codec.quantize(
                  UnsafeBufferPointer(rebasing: part[range]), codes: UnsafeMutableBufferPointer(rebasing: codes[range]))
              }
              for word in 0..<columns / 8 {
                var bits: UInt32 = 0
                for index in 0..<8 { bits |= UInt32(Int(codes[word * 8 + index]) + 8) << UInt32(4 * index) }
                packed.buffer[row * columns / 8 + word] = bits
              }
              return ErrorSums(part) {
                Float(codes[$0]) * HalfPrecision.float(scales.buffer[row * groups + $0 / groupSize])
              }
            }
          }
        }
      }
      try writer.append(packed)
      scales += chunkScales
    }
    try writer.write("\(stem).weight_scale", .f16, shape: [tensor.rows, groups], scales)
    try writer.write("\(stem).weight_shape", .i64, shape: [2], [Int64(tensor.rows), Int64(tensor.columns)])
    add(
      tensor, format: "int4", byteCount: tensor.rows * (tensor.columns / 2 + groups * 2) + 16,
      squaredError: sums.error, squares: sums.squares)
  }

  private func writeNF4(_ tensor: SourceTensor, doubleQuantization: Bool) throws {
    let count = tensor.rows * tensor.columns
    try writer.begin(.init(name: tensor.name, elementType: .u8, shape: [count / 2, 1]))
    var absmax: [Float] = []
    absmax.reserveCapacity(count / NF4Codec.blockSize)
    var sums = ErrorSums()
    try forEachChunk(tensor) { rows, values in
      let blockSize = NF4Codec.blockSize
      var packed = [UInt8](repeating: 0, count: values.count / 2)
      var chunkAbsmax = [Float](repeating: 0, count: values.count / blockSize)
      let input = SharedBuffer(UnsafeMutableBufferPointer(mutating: values))
      sums += packed.withUnsafeMutableBufferPointer { packed in
        chunkAbsmax.withUnsafeMutableBufferPointer { absmax in
          let packed = SharedBuffer(packed)
          let absmax = SharedBuffer(absmax)
          return parallelRows(absmax.buffer.count) { block in
            let range = block * blockSize..<(block + 1) * blockSize
            let part = UnsafeBufferPointer(rebasing: input.buffer[range])
            let codes = UnsafeMutableBufferPointer(
              rebasing: packed.buffer[range.lowerBound / 2..<range.upperBound / 2])
            NF4Codec.quantize(
              part, packed: codes, absmax: UnsafeMutableBufferPointer(rebasing: absmax.buffer[block..<block + 1]))
            let scale = absmax.buffer[block]
            return ErrorSums(part) {
              NF4Codec.codebook[Int(codes[$0 / 2] >> ($0 % 2 == 0 ? 4 : 0) & 15)] * scale
            }
          }
        }
      }
      try writer.append(packed)
      absmax += chunkAbsmax
    }
    var state = JSONObject([
      ("quant_type", .string("nf4")), ("blocksize", .integer(NF4Codec.blockSize)),
      ("dtype", .string(Self.typeName(tensor.elementType))),
      ("shape", .array(tensor.shape.map { .integer($0) })),
    ])
    var byteCount = count / 2 + 64
    if doubleQuantization {
      let nested = NestedAbsmax(absmax)
      trailing.append(("\(tensor.name).absmax", nested.codes))
      try writer.write("\(tensor.name).nested_absmax", .f32, shape: [nested.absmax.count], nested.absmax)
      try writer.write("\(tensor.name).nested_quant_map", .f32, shape: [256], DynamicMap.signed.values)
      state["nested_blocksize"] = .integer(NestedAbsmax.blockSize)
      state["nested_dtype"] = .string("float32")
      state["nested_offset"] = .number(Double(nested.offset))
      byteCount += nested.codes.count + nested.absmax.count * 4 + 1024
    } else {
      try writer.write("\(tensor.name).absmax", .f32, shape: [absmax.count], absmax)
      byteCount += absmax.count * 4
    }
    try writer.write("\(tensor.name).quant_map", .f32, shape: [16], NF4Codec.codebook)
    let text = Array(JSONValue.object(state).serialized().utf8)
    trailing.append(("\(tensor.name).quant_state.bitsandbytes__nf4", text))
    add(
      tensor, format: "nf4", byteCount: byteCount + text.count, squaredError: sums.error, squares: sums.squares)
  }

  /// What PyTorch calls the type that a weight had: bitsandbytes decodes to it.
  private static func typeName(_ type: ElementType) -> String {
    switch type {
    case .bf16: "bfloat16"
    case .f32: "float32"
    default: "float16"
    }
  }

  /// Runs `body` for every row in parallel and adds up what it returns in order.
  private func parallelRows(_ rows: Int, _ body: @Sendable (Int) -> ErrorSums) -> ErrorSums {
    let tile = 64
    let tasks = (rows + tile - 1) / tile
    var sums = [ErrorSums](repeating: ErrorSums(), count: tasks)
    sums.withUnsafeMutableBufferPointer { buffer in
      let shared = SharedBuffer(buffer)
      pool.run(tasks) { task, _ in
        var sum = ErrorSums()
        for row in task * tile..<min((task + 1) * tile, rows) { sum += body(row) }
        shared.buffer[task] = sum
      }
    }
    return sums.reduce(ErrorSums(), +)
  }
}

/// Squared error and squares of some elements.
private struct ErrorSums {
  var error = 0.0
  var squares = 0.0

  init() {}

  init(_ values: UnsafeBufferPointer<Float>, decoded: (Int) -> Float) {
    for (index, value) in values.enumerated() {
      let difference = Double(value - decoded(index))
      error += difference * difference
      squares += Double(value) * Double(value)
    }
  }

  static func + (left: ErrorSums, right: ErrorSums) -> ErrorSums {
    var sum = left
    sum += right
    return sum
  }

  static func += (left: inout ErrorSums, right: ErrorSums) {
    left.error += right.error
    left.squares += right.squares
  }
}

/// A buffer of which the tasks of a parallel loop touch disjoint parts.
private struct SharedBuffer<Element>: @unchecked Sendable {
  let buffer: UnsafeMutableBufferPointer<Element>
  init(_ buffer: UnsafeMutableBufferPointer<Element>) { self.buffer = buffer }
}
